"""What Khronos's glTF validator says: wants Node.js, and `npm install gltf-validator` in the checkout."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

MODULES = Path(__file__).parents[2] / "node_modules"
SCRIPT = (
    "const validator = require('gltf-validator'), fs = require('fs');"
    "Promise.all(process.argv.slice(1).map(f => validator.validateBytes(new Uint8Array(fs.readFileSync(f)))))"
    ".then(reports => console.log(JSON.stringify(reports.map(r => r.issues.messages))))"
)
INFORMATION = 2  # severities: 0 errors, 1 warnings, then what may as well be


def issues(files: Sequence[Path]) -> list[list[dict[str, Any]]]:
    """Of each file its messages. Skips the test where the validator is not there."""
    if shutil.which("node") is None or not (MODULES / "gltf-validator").is_dir():
        pytest.skip("no gltf-validator in node_modules")
    done = subprocess.run(
        ["node", "-e", SCRIPT, *map(str, files)],
        capture_output=True,
        check=True,
        env={**os.environ, "NODE_PATH": str(MODULES)},
    )
    return json.loads(done.stdout)
