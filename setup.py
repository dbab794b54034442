"""Package virnucpro. Lower bounds only; .ci/constraints.txt pins what is tested."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = (HERE / "virnucpro" / "__init__.py").read_text(encoding="utf-8").split('__version__ = "')[1].split('"')[0]

setup(
    name="virnucpro",
    version=VERSION,
    description="Tells viral from non-viral DNA with ESM-2 and DNABERT-S features",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    packages=find_packages(include=["virnucpro", "virnucpro.*"]),
    package_data={"virnucpro": ["py.typed"], "virnucpro.utils": ["*.html"]},
    python_requires=">=3.10",
    install_requires=[
        "torch>=2.10",
        "numpy>=1.26",
        "dnaio>=1.2.4",
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
    ],
    extras_require={
        "flash": ["flash-attn>=2.6"],
        "bench": [
            "asv==0.6.6",
            "virtualenv>=20.26",
            "tabulate>=0.9",
            "tomli>=2; python_version < '3.11'",
        ],
        "test": [
            "playwright>=1.49",
            "fair-esm>=2.0.0",
            "pytest>=8",
            "hypothesis>=6.100",
            "biopython>=1.83",
            "transformers>=5.0",
        ],
    },
    entry_points={"console_scripts": ["virnucpro=virnucpro.cli:main"]},
    classifiers=[
        "Environment :: Console",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Bio-Informatics",
    ],
)
