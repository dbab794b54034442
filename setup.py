"""Package virnucpro. Lower bounds only; .ci/constraints.txt pins what is tested."""

from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.sdist import sdist

HERE = Path(__file__).parent
VERSION = (HERE / "virnucpro" / "_version.py").read_text(encoding="utf-8").split('__version__ = "')[1].split('"')[0]


class Sdist(sdist):
    """The package and what is to be read with it; of the tests setuptools would take half, so they stay behind."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        kept = [file for file in files if not file.startswith("tests/")]
        super().make_release_tree(base_dir, [*kept, "CHANGELOG.md", "CITATION.cff"])


setup(
    name="virnucpro",
    version=VERSION,
    description="Tells viral from non-viral DNA with ESM-2 and DNABERT-S features",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license_expression="MIT",
    license_files=["LICENSE"],
    packages=find_packages(include=["virnucpro", "virnucpro.*"]),
    package_data={
        "virnucpro": ["py.typed"],
        "virnucpro.reporting": ["*.html"],
        "virnucpro.models": ["demo/*", "demo/*/*"],
    },
    cmdclass={"sdist": Sdist},
    python_requires=">=3.10",
    install_requires=[
        "torch>=2.10",
        "numpy>=1.26",
        "xopen>=2.1",
        "tokenizers>=0.20",
        "safetensors>=0.4.5",
        "click>=8.1",
        "rich>=13.7",
        "h5py>=3.10",
        "nvidia-ml-py>=12.535",
        "matplotlib>=3.9",
        "jinja2>=3.1",
        "huggingface_hub>=0.34",
        "httpx2>=2.0",
        "tenacity>=8.2",
        "scikit-learn>=1.7",
        "scipy>=1.11",
    ],
    extras_require={
        "bench": [
            "asv==0.6.6",
            "dnaio>=1.2.4",  # versions before 2.1 are run, too
            "virtualenv>=20.26",
            "tabulate>=0.9",
            "tomli>=2; python_version < '3.11'",
        ],
        "test": [
            "playwright>=1.49",
            "fair-esm>=2.0.0",
            "pytest>=8",
            "pytest-xdist>=3.6",
            "bandit>=1.7",
            "hypothesis>=6.100",
            "biopython>=1.83",
            "transformers>=5.0",
            "build>=1.2",
        ],
        "docs": [
            "mkdocs-material>=9.5",
            "mkdocstrings[python]>=0.26",
            "mkdocs-click>=0.8",
        ],
    },
    entry_points={"console_scripts": ["virnucpro=virnucpro.cli:run"]},
    classifiers=[
        "Environment :: Console",
        "Environment :: GPU :: NVIDIA CUDA",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Scientific/Engineering :: Bio-Informatics",
        "Typing :: Typed",
    ],
)
