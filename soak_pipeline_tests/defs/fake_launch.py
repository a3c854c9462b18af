"""`python -m soak_pipeline_tests.defs.fake_launch`: the launcher, over fake stages."""

import sys

from soak_pipeline_tests.defs.fake_stages import install

install()

from soak_pipeline.defs.launch import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
