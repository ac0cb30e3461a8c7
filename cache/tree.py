"""The objects of a cache's HDF5 file: each under one name, and every byte of it in this file.

HDF5 lets a name stand for another name, for an object of another file or for a group above itself,
and a dataset gather its bytes from other files. None of our writers makes such, and a reader would
follow them wherever they lead: they are refused before they are followed.
"""

import h5py

from marr_pipeline.cache.errors import CacheError

# That of `checksums/splits/train/logits` is 4; the rest is for a minor version to come.
_DEEPEST = 8
_ELSEWHERE = "was it made by another program? Write it with `pipeline extract` or `pipeline import`"


def open_datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Every dataset by its path, in the order of their names.

    Raises:
        CacheError: a link that is no plain name, an object under two names, or a dataset whose
            bytes lie in other files.
    """
    names: list[str] = []
    known = {h5py.h5o.get_info(file.id).addr}

    def look(raw: bytes, link: h5py.h5l.LinkInfo) -> str | None:
        """What is wrong with a link; a string ends the visit, which follows no other kind."""
        name = raw.decode("utf-8", "replace")
        if link.type != h5py.h5l.TYPE_HARD:
            kind = "a soft link" if link.type == h5py.h5l.TYPE_SOFT else "a link to another file"
            return f"/{name}: an object of this file expected, got {kind}"
        if link.u in known or name.count("/") >= _DEEPEST:
            return f"/{name}: an object under one name expected, got one that has another too"
        known.add(link.u)
        names.append(name)
        return None

    found = file.id.links.visit(look, info=True)
    opened = {}
    for name in names if found is None else ():
        identity = h5py.h5o.open(file.id, name.encode())
        if not isinstance(identity, h5py.h5d.DatasetID):
            continue
        layout = identity.get_create_plist()
        if layout.get_layout() == h5py.h5d.VIRTUAL or layout.get_external_count() > 0:
            found = f"/{name}: bytes in this file expected, got a dataset of others"
            break
        opened[name] = h5py.Dataset(identity)
    if found is not None:
        raise CacheError(f"{file.filename}: {found}; {_ELSEWHERE}")
    return opened
