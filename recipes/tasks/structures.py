"""Structures of drugs as fingerprints, by RDKit."""

from pathlib import Path

import numpy as np
import pandas as pd

RADIUS, N_BITS = 2, 2048


def read_fingerprints(path: Path, column: str, drugs: list[str]) -> np.ndarray:
    """Morgan fingerprints of drugs (radius 2, 2,048 bits).

    Parameters
    ----------
    path
        Parquet with the drug's name in `column`, and ``smiles``, empty or null where none is known.
    column
        Of the names.
    drugs
        D names.

    Returns
    -------
    ndarray
        float64 (D, 2048), NaN of a drug without a structure, or with one that RDKit does not read.

    Raises
    ------
    ValueError
        If RDKit is not installed, there is no such file or column, or fewer than two drugs have a structure.
    """
    try:
        from rdkit import Chem, rdBase
        from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator
    except ModuleNotFoundError as error:
        raise ValueError("--structures needs RDKit, which is not installed: pip install rdkit") from error
    if not path.is_file():
        raise ValueError(f"--structures {path}: there is no such file")
    table = pd.read_parquet(path)
    if not {column, "smiles"} <= set(table):
        raise ValueError(f"{path} needs columns {column!r} and 'smiles': it has {', '.join(map(repr, table.columns))}")
    smiles = table.drop_duplicates(column).set_index(column)["smiles"].reindex(drugs)
    made = GetMorganGenerator(radius=RADIUS, fpSize=N_BITS)
    found = np.full((len(drugs), N_BITS), np.nan)
    with rdBase.BlockLogs():
        for place, text in enumerate(smiles):
            molecule = Chem.MolFromSmiles(text) if isinstance(text, str) and text else None
            if molecule is not None:
                found[place] = made.GetFingerprintAsNumPy(molecule)
    if (n := int(np.isfinite(found[:, 0]).sum())) < 2:
        raise ValueError(f"{path} has structures for {n} of {len(drugs):,} drugs, such as {drugs[0]!r}: two are needed")
    return found
