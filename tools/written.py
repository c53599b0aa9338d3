"""Files of text, written together."""

from contextlib import suppress
from pathlib import Path


def write_all(texts: dict[Path, str]) -> None:
    """Write all files or, if one cannot be written, none: an OSError that names it."""
    drafts = {path: path.with_name(f".{path.name}.new") for path in texts}
    former = {path: path.read_bytes() if path.is_file() else None for path in texts}
    replaced: list[Path] = []
    try:
        for path, draft in drafts.items():
            draft.write_text(texts[path], "utf8")
        for path, draft in drafts.items():
            draft.replace(path)
            replaced.append(path)
    except OSError as error:
        for done in replaced:
            before = former[done]
            if before is None:
                done.unlink()
            else:
                done.write_bytes(before)
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        for draft in drafts.values():
            with suppress(OSError):
                draft.unlink()
