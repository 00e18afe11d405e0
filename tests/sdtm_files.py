"""SDTM datasets written as files: SAS transport, and Dataset-JSON in its three forms."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import polars as pl


def ibm(value: float | None) -> bytes:
    """A number as an IBM double; None is SAS' missing value."""
    if value is None:
        return b"." + bytes(7)
    if value == 0:
        return bytes(8)
    fraction, power = math.frexp(abs(value))
    sixteens = math.ceil(power / 4)
    bits = int(math.ldexp(fraction, 56 + power - 4 * sixteens))
    return bytes([(128 if value < 0 else 0) + sixteens + 64]) + bits.to_bytes(7, "big")


def _line(text: str) -> bytes:
    return text.encode("ascii").ljust(80)


def _header(kind: str, rest: str = "0" * 30) -> bytes:
    return _line(f"HEADER RECORD*******{kind:<8}HEADER RECORD!!!!!!!{rest}")


def _padded(raw: bytes) -> bytes:
    return raw.ljust(-(-len(raw) // 80) * 80)


def xpt(frame: pl.DataFrame, name: str, *, version: int = 5, encoding: str = "utf-8") -> bytes:
    """A frame of texts and numbers as a SAS transport file."""
    kinds = {5: ("LIBRARY", "MEMBER", "DSCRPTR", "NAMESTR", "OBS"), 8: ("LIBV8", "MEMBV8", "DSCPTV8", "NAMSTV8", "OBSV8")}
    library, member, descriptor, names, rows = kinds[version]
    cells: list[list[bytes]] = []
    described, at = b"", 0
    for number, column in enumerate(frame.get_columns(), 1):
        numeric = column.dtype.is_numeric()
        raw = [ibm(v) for v in column] if numeric else [(v or "").encode(encoding) for v in column]
        width = 8 if numeric else max([1, *map(len, raw)])
        cells.append([r if numeric else r.ljust(width) for r in raw])
        described += struct.pack(
            ">hhhh8s40s8shhh2s8shhl32sh18s", 1 if numeric else 2, 0, width, number, column.name.encode().ljust(8), b" " * 40, b" " * 8,
            0, 0, 0, b"  ", b" " * 8, 0, 0, at, column.name.encode().ljust(32), 0, bytes(18),
        )  # fmt: skip
        at += width
    stamp = "01JAN24:00:00:00"
    wide = 8 if version == 5 else 32
    return b"".join(
        [
            _header(library), _line(f"SAS     SAS     SASLIB  9.4     {'':32}{stamp}"), _line(stamp),
            _header(member, "0" * 17 + "1600000000140"), _header(descriptor),
            _line(f"SAS     {name:<{wide}}SASDATA 9.4     "), _line(stamp),
            _header(names, f"{0:05}{frame.width:05}{0:020}"), _padded(described),
            _header(rows), _padded(b"".join(b"".join(row) for row in zip(*cells, strict=True))),
        ]
    )  # fmt: skip


def dataset_json(frame: pl.DataFrame, name: str, version: str = "1.1.0") -> str:
    """A frame as Dataset-JSON 1.1 or 1.0."""
    rows = [list(row) for row in frame.rows()]
    columns = [
        {"itemOID": f"IT.{name}.{c}", "name": c, "label": c, "dataType": "float" if t.is_numeric() else "string"}
        for c, t in frame.schema.items()
    ]
    if version.startswith("1.0"):
        items = [{"OID": c["itemOID"], "name": c["name"], "label": c["label"], "type": c["dataType"]} for c in columns]
        group = {"records": len(rows), "name": name, "label": name, "items": items, "itemData": rows}
        return json.dumps(
            {"datasetJSONVersion": version, "clinicalData": {"studyOID": "S", "itemGroupData": {f"IG.{name}": group}}}
        )
    return json.dumps(_head(name, version, columns, len(rows)) | {"rows": rows})


def dataset_ndjson(frame: pl.DataFrame, name: str) -> str:
    """A frame as the NDJSON form of Dataset-JSON 1.1."""
    head, rows = (content := json.loads(dataset_json(frame, name))), content.pop("rows")
    return "\n".join(json.dumps(line) for line in (head, *rows)) + "\n"


def _head(name: str, version: str, columns: list[dict[str, Any]], records: int) -> dict[str, Any]:
    return {
        "datasetJSONCreationDateTime": "2024-01-01T00:00:00",
        "datasetJSONVersion": version,
        "itemGroupOID": f"IG.{name}",
        "records": records,
        "name": name,
        "label": name,
        "columns": columns,
    }


def write(folder: Path, domains: dict[str, pl.DataFrame], form: str) -> Path:
    """A folder with a file for each domain."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in domains.items():
        if form in ("xpt5", "xpt8"):
            (folder / f"{name.lower()}.xpt").write_bytes(xpt(frame, name, version=int(form[-1])))
        elif form == "ndjson":
            (folder / f"{name.lower()}.ndjson").write_text(dataset_ndjson(frame, name))
        else:
            (folder / f"{name.lower()}.json").write_text(dataset_json(frame, name, form))
    return folder
