// Cells of a set of counts in JavaScript: node read_shards.mjs SET [SPLIT], a JSON line a cell: {"cell_id", "genes", "counts"}.
// Needs: npm install apache-arrow fzstd. What the bytes mean is specified in docs/format.md.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { tableFromIPC, compressionRegistry, CompressionType } from "apache-arrow";
import { decompress } from "fzstd";

compressionRegistry.set(CompressionType.ZSTD, { decode: (bytes) => decompress(bytes).slice() }); // aligned

const [set, split = "train"] = process.argv.slice(2);
const manifest = JSON.parse(readFileSync(join(set, "manifest.json"), "utf8"));
if (manifest.encoding !== "gap-count-1") throw new Error(`${set} holds ${manifest.encoding}, not counts`);

// Members of a plain tar: a header of 512 bytes, the name from byte 0, the size in octal from byte 124, then the data.
function* members(path) {
  const tar = readFileSync(path);
  for (let at = 0; at + 512 <= tar.length && tar[at] !== 0; ) {
    const size = parseInt(tar.toString("ascii", at + 124, at + 136), 8);
    yield tar.subarray(at + 512, at + 512 + size);
    at += 512 + Math.ceil(size / 512) * 512;
  }
}

// Positions and what is to be added there: differences in runs of bytes (255: go on), amounts in LEB128.
function* exceptions(where, more) {
  let position = 0, next = 0;
  for (let i = 0; i < where.length; ) {
    do position += where[i]; while (where[i++] === 255);
    let amount = 0, scale = 1;
    do { amount += (more[next] & 127) * scale; scale *= 128; } while (more[next++] & 128);
    yield [position, amount];
  }
}

function cell(row, gapBits) {
  const mask = (1 << gapBits) - 1;
  const gaps = Array.from(row.codes, (byte) => (byte & mask) + 1);
  const counts = Array.from(row.codes, (byte) => (byte >> gapBits) + 1);
  for (const [i, amount] of exceptions(row.gap_at, row.gap_more)) gaps[i] += amount;
  for (const [i, amount] of exceptions(row.count_at, row.count_more)) counts[i] += amount;
  let code = -1;
  return { cell_id: Number(row.cell_id), genes: gaps.map((gap) => (code += gap)), counts };
}

// readable ids are in var.parquet, whose column `code` these numbers are
for (const folder of readdirSync(join(set, "shards")).sort())
  for (const name of readdirSync(join(set, "shards", folder)).sort())
    if (name.startsWith(`${split}-`))
      for (const block of members(join(set, "shards", folder, name))) {
        const table = tableFromIPC(block);
        const gapBits = Number(table.schema.metadata.get("gap_bits"));
        for (const row of table) console.log(JSON.stringify(cell(row, gapBits)));
      }
