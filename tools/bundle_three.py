"""Make flare_cli/assets/viewer/three.min.js: the parts of three.js (MIT) that `flare export --format html` embeds.

npm install three@0.187 esbuild; python tools/bundle_three.py node_modules
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VIEWER = Path(__file__).parents[1] / "flare_cli" / "assets" / "viewer"
PARTS = """
export {
  AnimationMixer, Color, DataTexture, DataUtils, EquirectangularReflectionMapping, FloatType, HalfFloatType,
  PerspectiveCamera, RGBAFormat, Scene, ShaderMaterial, WebGLRenderer, WebGLRenderTarget,
} from "three";
export { OrbitControls } from "three/addons/controls/OrbitControls.js";
export { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
export { FullScreenQuad } from "three/addons/postprocessing/Pass.js";
export { HDRLoader } from "three/addons/loaders/HDRLoader.js";
"""


def main() -> None:
    modules = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        entry = Path(scratch) / "entry.js"
        entry.write_text(PARTS, encoding="utf-8")
        (Path(scratch) / "node_modules").symlink_to(modules)
        command = [modules / ".bin" / "esbuild", entry, "--bundle", "--minify", "--format=iife", "--global-name=THREE"]
        command += ["--target=es2022", "--legal-comments=none", f"--outfile={VIEWER / 'three.min.js'}"]
        command += ["--banner:js=/* three.js, Copyright three.js authors, MIT licence: LICENSE.three */"]
        subprocess.run([str(word) for word in command], check=True)
    shutil.copyfile(modules / "three" / "LICENSE", VIEWER / "LICENSE.three")


if __name__ == "__main__":
    main()
