"""Pictures as they are stored: patches without loss, frames for people to look at."""

import cv2
import numpy as np
from numpy.typing import NDArray
from sqlite_utils import Database

from config.errors import UserError

# Run-length strategy over upward differences: a third of the time of the defaults for grey
# steel, at the same size.
PNG_SETTINGS = [
    cv2.IMWRITE_PNG_COMPRESSION, 1,
    cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE,
    cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP,
]  # fmt: skip


def encode_png(patch: NDArray[np.uint8]) -> bytes:
    """A patch as PNG, without loss."""
    return cv2.imencode(".png", patch, PNG_SETTINGS)[1].tobytes()


def encode_jpeg(frame: NDArray[np.uint8]) -> bytes:
    """A frame as JPEG, for people to look at."""
    return cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


def remove_frame_without_flags(db: Database, frame_id: str) -> None:
    """Remove a frame, where no flag refers to it; in the caller's transaction."""
    db.execute(
        "DELETE FROM frames WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM flags WHERE frame_id = ?1)",
        [frame_id],
    )


def decode_png(png: bytes, patch_id: str) -> NDArray[np.uint8]:
    """The pixels of a stored patch, uint8 [200, 200].

    Raises:
        UserError: it cannot be decoded.
    """
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE) if png else None
    if image is None:
        raise UserError(f"patch {patch_id}: its stored picture is damaged; restore a backup")
    return np.asarray(image, np.uint8)
