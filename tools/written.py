"""Files of text, written together."""

from pathlib import Path


def write_all(texts: dict[Path, str]) -> None:
    """Write all files or, if there is no room for one, none."""
    drafts = {path: path.with_name(f".{path.name}.new") for path in texts}
    try:
        for path, draft in drafts.items():
            draft.write_text(texts[path], "utf8")
        for path, draft in drafts.items():
            draft.replace(path)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
