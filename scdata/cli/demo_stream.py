"""The process that the demo kills: streams a set slowly and says where it is after each batch."""

import json
import sys
import time

from scdata.batch.dataset import ShardDataset

if __name__ == "__main__":
    for batch in ShardDataset(sys.argv[1], batch_size=int(sys.argv[2]), output="packed"):
        print(json.dumps({"cell_id": batch["cell_id"].tolist(), "state": batch["state"]}), flush=True)
        time.sleep(0.05)
