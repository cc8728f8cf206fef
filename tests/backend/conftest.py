"""The tiny backend of `serving`, for every test of the worker's parts."""

import serving

adapter, folder, backend, empty = (  # fixtures
    serving.adapter,
    serving.folder,
    serving.backend,
    serving.empty,
)
