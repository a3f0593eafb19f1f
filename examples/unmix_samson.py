"""Unmix the Samson scene into soil, tree and water; a simulated scene where the data are not at hand.

Run `python examples/unmix_samson.py [OUT.png]`; needs the `plot` extra. The scene is looked for in the folder named by
JAXOPT_THOTH_DATA, else in `shared/data` beside the repository.
"""

import os
import sys
import time
from pathlib import Path

import jax

from jaxopt_thoth import unmixing
from jaxopt_thoth.plotting import report_figure


def find_scene() -> tuple[str, unmixing.Scene]:
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(os.environ.get("JAXOPT_THOTH_DATA", default)) / "samson.npz"
    if path.exists():
        print("Samson: the real scene")
        return "Samson", unmixing.load_scene(path)
    print("Samson is not at hand (set JAXOPT_THOTH_DATA to the folder of samson.npz): a simulated scene instead")
    return "Simulated scene", unmixing.simulate_scene(jax.random.key(0), num_endmembers=3)


def main(picture: str = "unmix_samson.png") -> None:
    name, scene = find_scene()
    print(f"{scene.height} x {scene.width} pixels, {scene.num_bands} bands")
    methods = {
        "VCA + FCLSU": {"method": "vca+fclsu"},
        "SiVM + FCLSU": {"method": "sivm+fclsu"},
        "EDAA": {"method": "edaa"},
    }
    for label, settings in methods.items():
        begin = time.perf_counter()
        found = jax.block_until_ready(unmixing.unmix(scene, 3, key=jax.random.key(0), **settings))
        seconds = time.perf_counter() - begin
        report = unmixing.evaluate(found.endmembers, found.abundances, scene)
        print(
            f"{label:13s} mean spectral angle {report['mean_spectral_angle']:5.2f} degrees, "
            f"abundance RMSE {report['abundance_rmse']:5.2f} %, {seconds:.1f} s with compilation"
        )
    # The ensemble says how far its runs agree: the spread of their endmembers, in degrees.
    spread = sorted(float(degrees) for degrees in found.diagnostics["spread_degrees"])
    print("EDAA runs, median angle to the others:", ", ".join(f"{degrees:.2f}" for degrees in spread))
    report_figure(scene, found, report, title=f"{name}, EDAA").savefig(picture)
    print(f"the picture is {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
