"""Photo-like grey pictures of face-milled steel plates, with defects and ground truth.

The stand-in for the camera of the VMC220 image acquisition platform: a grey camera under a ring
light looks straight down at a plate that a 40 mm face-milling cutter has just left.

Coordinates: x right, y down, in pixels; boxes are ``(x, y, width, height)``.  Angles are degrees,
counted from +x towards +y.  Pictures are uint8 ``[height, width]``.

Optics.  The feed per tooth (5-15 um) is smaller than any usual camera pixel, so single tooth marks
are never seen.  Tooth run-out makes one tooth cut deepest, so the marks repeat once per
*revolution*, teeth * feed per tooth = 15, 30 or 45 um.  The default 12 um pixel gives a 200 px
patch of 2.4 mm; it resolves 45 and 30 um marks (3.75 and 2.5 px), and of the 15 um marks only the
longer vibration beat (see :func:`mark_frequencies`).  Marks above the Nyquist limit are left out
before sampling, so nothing aliases.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Box = tuple[int, int, int, int]
Size = tuple[int, int]

CLASSES: Final = ("clean", "patch", "pitted_surface", "scratch")
PATCH_SIZE: Final[Size] = (200, 200)
SENSOR_SIZE: Final[Size] = (1024, 1280)

# Table 6 of the paper: the levels of the milling experiment.
TABLE_6: Final[dict[str, tuple[float, ...]]] = {
    "spindle_rpm": (2000.0, 2500.0, 3000.0),
    "depth_mm": (0.2, 0.15, 0.1),
    "feed_per_tooth_mm": (0.005, 0.01, 0.015),
}
# Per steel: grain contrast (1), grain scale (px of the cached texture), reflectance (1).  Soft
# ferritic S15C is brighter and coarser than ferritic-pearlitic S45C.
MATERIALS: Final = {"S45C": (0.050, 1.0, 0.96), "S15C": (0.062, 1.5, 1.05)}

_TABLE_PX: Final = 2048  # length of a mark table; it wraps around
_OVER: Final = 4  # table samples per pixel
_TEXTURE: Final = 1536  # side of the cached noise textures
_GLOSS: Final = 7.0  # relative brightness change per radian of slope, at 45 degrees of elevation


@dataclass(frozen=True)
class Milling:
    """How the plate was cut: Table 6 levels plus what a real spindle adds."""

    spindle_rpm: float = 2500.0
    depth_mm: float = 0.15
    feed_per_tooth_mm: float = 0.015
    cutter_diameter_mm: float = 40.0
    teeth: int = 3
    nose_radius_mm: float = 0.8  # of the insert corner
    runout_mm: float = 0.004  # axial height difference between the teeth
    chatter_hz: float = 613.0  # eigenfrequency of spindle and fixture
    compliance_mm_per_n: float = 1.2e-4
    back_cut: float = 0.35  # 0..1 strength of the marks of the cutter's rear edge
    irregularity: float = 0.010  # rms slope (rad) of marks that differ turn by turn
    material: str = "S45C"
    path_offset_mm: float | None = None  # cutter path above/below picture centre; None: random
    feed_angle_deg: float | None = None  # direction of feed; None: random within 7 degrees


@dataclass(frozen=True)
class Optics:
    """Camera and ring light."""

    pixel_mm: float = 0.012  # object side
    light_angle_deg: float = 30.0  # azimuth of the brightest part of the ring
    light_elevation_deg: float = 40.0  # above the plate
    ring_evenness: float = 0.4  # 0: one lamp, 1: an even ring
    vignetting: float = 0.18  # loss in the sensor's corner, 0..1
    exposure: float = 0.5  # mean grey level, 1 is white
    blur_px: float = 0.6  # defocus, Gaussian sigma
    full_well_e: float = 9000.0  # electrons at white, sets the shot noise
    read_noise_e: float = 40.0


@dataclass(frozen=True)
class Defect:
    """A recipe for one defect; the same recipe always leaves the same trace."""

    name: str
    centre: tuple[int, int]  # x, y in pixels
    extent_px: int  # side of the square that holds it, before clipping to the plate
    contrast: float  # signed relative brightness change; negative is dark
    width_px: float  # line width, mean pit radius or patch border softness
    count: int  # lines, pits or (patch) style number
    angle_deg: float  # long axis; relative to the local milling mark if follow_marks
    follow_marks: bool
    damping: float  # 0..1 how much of the milling marks it wipes out
    seed: int


@dataclass(frozen=True)
class Truth:
    """Where a defect is visible: its box and, inside the box, a bool mask [height, width]."""

    name: str
    box: Box
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Plate:
    """One picture (uint8 [height, width]) and all defects in it."""

    image: U8
    defects: tuple[Truth, ...]
    milling: Milling
    optics: Optics


def mark_frequencies(milling: Milling, pixel_mm: float) -> dict[str, float]:
    """Spatial frequencies along the feed in cycles per pixel.

    ``tooth``: pixel / f_z.  ``revolution``: pixel / (z f_z).  ``beat``: the surface samples the
    vibration once per revolution, so chatter at f_c shows at |r - round(r)| / (z f_z) with
    r = f_c / (rpm / 60), held above 0.05 so the beat stays on the picture.
    """
    feed = milling.teeth * milling.feed_per_tooth_mm
    ratio = milling.chatter_hz * 60.0 / milling.spindle_rpm
    part = max(abs(ratio - round(ratio)), 0.05)
    return {
        "tooth": pixel_mm / milling.feed_per_tooth_mm,
        "revolution": pixel_mm / feed,
        "beat": pixel_mm * part / feed,
    }


def _tones(milling: Milling, pixel_mm: float) -> list[tuple[float, float]]:
    """(cycles per pixel, slope amplitude in rad) of the regular marks.

    A round insert corner leaves scallops h = x^2 / (2 r): a sawtooth of slope x / r, whose k-th
    harmonic is f / (pi r k).  Run-out above the scallop height f_z^2 / (8 r) hides the other teeth.
    Vibration amplitude: compliance * k_c * a_p * f_z (k_c = 2100 N/mm^2), slope 2 pi A / period.
    """
    wave = mark_frequencies(milling, pixel_mm)
    feed, radius = milling.feed_per_tooth_mm, milling.nose_radius_mm
    scallop = feed**2 / (8.0 * radius)
    shared = scallop / (scallop + milling.runout_mm)  # share of equal teeth
    tooth = feed / (np.pi * radius)
    turn = milling.teeth * tooth * (1.0 - shared)
    swing = milling.compliance_mm_per_n * 2100.0 * milling.depth_mm * feed
    beat = min(2.0 * np.pi * swing * wave["beat"] / pixel_mm, 0.022)
    return [
        *((k * wave["revolution"], turn / k) for k in (1, 2, 3)),
        (wave["tooth"], shared * tooth),
        (wave["beat"], beat),
        (2.0 * wave["beat"], 0.3 * beat),
        (wave["revolution"] - wave["beat"], 0.3 * beat),
    ]


def _mark_table(rng: np.random.Generator, milling: Milling, pixel_mm: float, limit: float) -> F32:
    """Slope (rad) across the marks against distance along the feed: float32 [1, 8192].

    Built in the frequency domain: a 1/f^0.4 floor for turn-by-turn differences, narrow bands for
    the tones (a few bins wide, so they swell and fade), times the pixel aperture sinc(f); all
    above ``limit`` cycles per pixel is dropped against aliasing.
    """
    bins = int(limit * _TABLE_PX)
    freq = np.arange(1, bins + 1, dtype=np.float64) / _TABLE_PX
    floor = (freq + 0.004) ** -0.4 * (freq > 0.004)
    floor *= milling.irregularity / np.sqrt(0.5 * np.sum(floor**2))
    normal = rng.standard_normal((2, bins))
    spectrum = floor * (normal[0] + 1j * normal[1]) * 0.7
    for tone, amplitude in _tones(milling, pixel_mm):
        middle = round(tone * _TABLE_PX) - 1
        side = rng.standard_normal((2, 5)) * np.array([0.2, 0.35, 0.75, 0.35, 0.2])
        if 2 <= middle < bins - 3:
            spectrum[middle - 2 : middle + 3] += amplitude * (side[0] + 1j * side[1])
    full = np.zeros(_TABLE_PX * _OVER // 2 + 1, np.complex128)
    full[1 : bins + 1] = spectrum * np.sinc(freq)
    table = np.fft.irfft(full) * (_TABLE_PX * _OVER / 2)
    return table.astype(np.float32)[None, :]


@cache
def _texture(kind: str) -> F32:
    """Cached unit-variance noise, float32 [1536, 1536]: white, grain, fine, smooth, streak."""
    rng = np.random.default_rng(sum(kind.encode()))
    noise = rng.standard_normal((_TEXTURE, _TEXTURE), dtype=np.float32)
    if kind == "white":
        return noise
    sigmas = {"grain": (0.8, 0.8), "fine": (2.0, 2.0), "smooth": (6.0, 6.0), "streak": (0.9, 6.0)}
    sigma = sigmas[kind]
    field = np.asarray(cv2.GaussianBlur(noise, (0, 0), sigma[0], None, sigma[1]), np.float32)
    if kind == "grain":  # metal glints: more bright than dark outliers
        field = np.exp(0.28 * field / field.std()).astype(np.float32)
    field = field - field.mean()
    return np.asarray(field / field.std(), np.float32)


def _crop(rng: np.random.Generator, kind: str, size: Size) -> F32:
    """A randomly placed and flipped view of a cached texture, float32 [height, width]."""
    y, x = rng.integers(0, (_TEXTURE - size[0] + 1, _TEXTURE - size[1] + 1))
    flip = rng.integers(0, 4)
    view = _texture(kind)[y : y + size[0], x : x + size[1]]
    return view[:: 1 - 2 * (flip & 1), :: 1 - (flip & 2)]


def _smooth(rng: np.random.Generator, size: Size, scale_px: float) -> F32:
    """Unit-variance smooth noise with correlation length ``scale_px``, float32 of ``size``."""
    kind, sigma = ("fine", 2.0) if scale_px < 6.0 else ("smooth", 6.0)
    shrink = sigma / scale_px
    small = (int(size[0] * shrink) + 3, int(size[1] * shrink) + 3)
    view = np.ascontiguousarray(_crop(rng, kind, small))
    return _enlarge(view, size)


def _blur(image: F32, sigma: float) -> F32:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def _enlarge(image: F32, size: Size) -> F32:
    return np.asarray(cv2.resize(image, (size[1], size[0])), np.float32)


def _look_up(table: F32, x: F32, y: F32) -> F32:
    """The table at wrapped positions x, y (table samples), float32 [height, width]."""
    height, width = np.float32(table.shape[0]), np.float32(table.shape[1])
    wrap = cv2.BORDER_WRAP
    return np.asarray(
        cv2.remap(table, x % width, y % height, cv2.INTER_LINEAR, borderMode=wrap), np.float32
    )


def _feed_frame(size: Size, pixel_mm: float, angle: float, offset_mm: float) -> tuple[F32, F32]:
    """Distance along the feed and across it from the cutter path, mm, float32 [height, width]."""
    y, x = (
        (np.arange(n, dtype=np.float32) - np.float32(n / 2)) * np.float32(pixel_mm) for n in size
    )
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return c * x + s * y[:, None], c * y[:, None] - s * x - np.float32(offset_mm)


def _mark_contrast(normal: F32, optics: Optics) -> F32:
    """Brightness change per radian of slope for grooves whose normal has azimuth ``normal``.

    Lambert/Phong linearised: dI/I = slope * cot(elevation) * cos(groove normal - light azimuth)
    for the lamp side; the even part of the ring leaves a direction-free rest.
    """
    lamp = (1.0 - optics.ring_evenness) * np.cos(normal - np.radians(optics.light_angle_deg))
    even = 0.55 * optics.ring_evenness
    cot = 1.0 / np.tan(np.radians(optics.light_elevation_deg))
    return np.asarray(_GLOSS * cot * np.sqrt(lamp**2 + even**2), np.float32)


def _mark_family(
    rng: np.random.Generator, u: F32, normal: F32, milling: Milling, optics: Optics, limit: float
) -> F32:
    """Relative brightness of one family of arcs; ``u`` in px, ``normal`` (rad) on a coarse grid."""
    table = _mark_table(rng, milling, optics.pixel_mm, limit)
    if rng.random() < 0.12:  # one turn bit deeper: a long mark that is no defect
        at = int(rng.integers(0, table.shape[1] - 12))
        table[0, at : at + 12] += np.hanning(12).astype(np.float32) * rng.uniform(-0.03, 0.03)
    marks = _look_up(table, u * np.float32(_OVER), np.zeros_like(u))
    return marks * _enlarge(_mark_contrast(normal, optics), (u.shape[0], u.shape[1]))


def _shade(rng: np.random.Generator, size: Size, normal: F32, optics: Optics) -> F32:
    """Smooth brightness.  Kajiya-Kay: grooves throw light of azimuth across them, sin^2(t, l)."""
    lit = np.cos(normal - np.radians(optics.light_angle_deg)) ** 2
    fan = 0.82 + 0.36 * ((1.0 - optics.ring_evenness) * lit + 0.5 * optics.ring_evenness)
    return _enlarge(fan.astype(np.float32), size) * (1.0 + 0.035 * _smooth(rng, size, 90.0))


def _surface(
    rng: np.random.Generator, size: Size, milling: Milling, optics: Optics
) -> tuple[F32, F32, F32, F32]:
    """Milling marks, grain, smooth shading (relative) and, on a coarse grid, the mark angle (rad).

    The cutter edge is a circle of radius R around the path: its front edge leaves marks on
    u = x - sqrt(R^2 - y^2) = const, its rear edge on u = x + sqrt(R^2 - y^2).
    """
    radius, scale = milling.cutter_diameter_mm / 2.0, np.float32(1.0 / optics.pixel_mm)
    half = 0.5 * size[0] * optics.pixel_mm
    shift, twist, way, bright = rng.uniform(-1.0, 1.0, 4).tolist()
    offset, angle = milling.path_offset_mm, milling.feed_angle_deg
    offset = shift * max(0.72 * radius - half, 0.0) if offset is None else offset
    turn = float(np.radians(7.0 * twist if angle is None else angle))
    side = 1 if way > 0 else -1  # feed to the right or to the left
    along, across = _feed_frame(size, optics.pixel_mm, turn, offset)
    depth = side * np.sqrt(np.maximum(np.float32(radius**2) - across * across, 0.04 * radius**2))
    front, back = (along - depth) * scale, (along + depth) * scale
    lean = min(0.95, (abs(offset) + half) / radius)
    limit = 0.46 * float(np.sqrt(1.0 - lean**2))  # arcs seen askew are denser by 1 / cos
    # Groove normals vary slowly: a coarse grid will do.
    coarse = (max(size[1] // 16, 2), max(size[0] // 16, 2))
    lower = np.asarray(cv2.resize(across, coarse, interpolation=cv2.INTER_AREA), np.float32)
    tilt = side * np.arcsin(np.clip(lower / radius, -0.98, 0.98))
    marks = _mark_family(rng, front, turn + tilt, milling, optics, limit)
    if milling.back_cut > 0.0:
        rear = _mark_family(rng, back, turn - tilt, milling, optics, limit)
        marks += np.float32(milling.back_cut) * rear
    marks *= 1.0 + 0.35 * _smooth(rng, size, 45.0)
    # Micro-scratches of the tool: noise stretched along the arc.
    start = rng.uniform(0.0, _TEXTURE, 2).astype(np.float32)
    stretched = across * scale * np.float32(0.22) + start[0]
    marks += 0.035 * _look_up(_texture("streak"), front * np.float32(1.3) + start[1], stretched)
    contrast, coarseness, reflectance = MATERIALS[milling.material]
    grain = contrast * _crop(rng, "grain", size)
    grain = grain + 0.02 * coarseness * _smooth(rng, size, 2.5 * coarseness)
    shade = _shade(rng, size, turn + tilt, optics) * (reflectance * (1.0 + 0.14 * bright))
    return marks, grain, shade, np.asarray(turn + tilt + np.pi / 2, np.float32)


def _relief(height: F32, light: float) -> F32:
    """Lambert shading of a height map: minus the slope along the light's azimuth (rad)."""
    dx = np.asarray(cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=0.125), np.float32)
    dy = np.asarray(cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=0.125), np.float32)
    return np.asarray(-dx * np.float32(np.cos(light)) - dy * np.float32(np.sin(light)))


def _draw_pits(defect: Defect, light: float) -> tuple[F32, F32]:
    """(brightness gain, mark damping), float32 [extent, extent]: ragged craters with a lip.

    The floor is dark because light reaches it badly; :func:`_relief` brightens the lip towards the
    light and the wall that faces it.
    """
    rng = np.random.default_rng(defect.seed)
    side, n = defect.extent_px, defect.count
    radii = np.clip(defect.width_px * np.exp(0.5 * rng.standard_normal(n)), 0.8, side / 8)
    cluster = rng.standard_normal((n, 1, 2))
    far = np.linalg.norm(cluster, axis=2, keepdims=True) + 1e-6
    spots = (0.5 + 0.39 * np.tanh(0.55 * far) * cluster / far) * side  # a cloud, but no outliers
    around = np.arange(10) * (2.0 * np.pi / 10.0)
    ragged = radii[:, None] * np.exp(0.22 * rng.standard_normal((n, 10)))
    ring = np.stack((ragged * np.cos(around), 0.75 * ragged * np.sin(around)), axis=2)
    points = np.round((spots + ring) * 16).astype(np.int32)
    canvas: U8 = np.zeros((side, side), np.uint8)
    for outline, deep in zip(points, rng.uniform(140.0, 255.0, n), strict=True):
        cv2.fillPoly(canvas, [outline], deep, cv2.LINE_AA, 4)
    sharp = canvas.astype(np.float32) / 255.0
    pit = 0.6 * _blur(sharp, 0.6) + 0.4 * _blur(sharp, 0.55 * defect.width_px)  # a bowl
    lip = _blur(pit, 0.9 + 0.4 * defect.width_px)
    relief = np.clip(_relief(1.1 * lip - pit, light), -0.2, 0.3)
    floor = pit * (1.0 + 0.2 * _smooth(rng, (side, side), 1.6))
    gain = 1.0 + defect.contrast * floor - 2.2 * defect.contrast * relief
    return np.maximum(gain, 0.12), np.minimum(pit * np.float32(defect.damping), 1.0)


def _draw_scratch(defect: Defect, light: float, marks: float) -> tuple[F32, F32]:
    """(brightness gain, mark damping), float32 [extent, extent]: bent lines with a side burr.

    A wide scratch is a bundle of hairlines, as a chip or a hard grain leaves it.
    """
    rng = np.random.default_rng(defect.seed)
    side = defect.extent_px
    angle = np.radians(defect.angle_deg) + (marks if defect.follow_marks else 0.0)
    axis, normal = (np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))
    t = np.linspace(-0.5, 0.5, 25)
    bow = rng.normal(0.0, 0.045) * (1.0 - 4.0 * t * t)
    canvas: U8 = np.zeros((side, side), np.uint8)
    hairs = max(1, round(defect.width_px))
    for line in range(defect.count):
        second = line > 0  # companions are shorter and weaker
        length = 0.86 * side * (rng.uniform(0.4, 1.0) if second else 1.0)
        shift = rng.normal(0.0, 2.0 + 0.05 * side) if second else 0.0
        slide = rng.uniform(-0.5, 0.5) * (0.86 * side - length) if second else 0.0
        wave = 0.2 * np.cumsum(rng.standard_normal(25))
        for hair in range(hairs):
            part = 1.0 if hair == 0 else rng.uniform(0.5, 1.0)
            across = bow * length + shift + wave + 0.9 * (hair - 0.5 * (hairs - 1))
            along = t * length * part + slide + 0.5 * (1.0 - part) * length * rng.uniform(-1, 1)
            path = side / 2 + np.outer(along, axis) + np.outer(across, normal)
            force = np.clip(0.8 + 0.25 * rng.standard_normal(25), 0.25, 1.0)
            force *= np.minimum(1.0, (0.5 - np.abs(t)) / 0.15 + 0.2) * (0.75 if second else 1.0)
            dots = np.round(path * 16).astype(int).tolist()
            for a, b, f in zip(dots[:-1], dots[1:], force, strict=False):
                cv2.line(canvas, a, b, 255.0 * f, 1, cv2.LINE_AA, 4)
    core = _blur(canvas.astype(np.float32) / 255.0, 0.4)
    core /= core.max()
    relief = _relief(0.8 * _blur(core, 1.5) - core, light)  # burr beside the groove
    gain = 1.0 + defect.contrast * core + 1.1 * abs(defect.contrast) * relief
    return np.maximum(gain, 0.12), core * np.float32(defect.damping)


def _draw_patch(defect: Defect) -> tuple[F32, F32]:
    """(brightness gain, mark damping), float32 [extent, extent]: a blotch.

    Style 0: oxide or stain; 1: dried coolant with a dark rim; 2: unmachined skin, rough inside.
    """
    rng = np.random.default_rng(defect.seed)
    side = defect.extent_px
    grid = (np.arange(side, dtype=np.float32) + 0.5) / np.float32(side) * 2.0 - 1.0
    c, s = np.cos(np.radians(defect.angle_deg)), np.sin(np.radians(defect.angle_deg))
    x, y = grid[None, :], grid[:, None]
    far = np.hypot(c * x + s * y, (c * y - s * x) * rng.uniform(1.0, 1.8))
    shape = 0.66 - far + 0.19 * _smooth(rng, (side, side), side / 8)
    shape += 0.06 * _smooth(rng, (side, side), 6.0) + 0.035 * _smooth(rng, (side, side), 2.0)
    frame = np.minimum(1.0, 6.0 * (1.0 - np.maximum(np.abs(x), np.abs(y))))
    steep = side / (2.0 * max(defect.width_px, 0.5))
    blot = np.asarray(np.clip(0.5 + shape * steep, 0.0, 1.0) * frame, np.float32)
    blot = blot * blot * (3.0 - 2.0 * blot)  # soft at both ends of the border
    inside = 1.0 + 0.2 * _smooth(rng, (side, side), side / 12)
    inside += 0.1 * _smooth(rng, (side, side), 3.0)
    if defect.count == 1:
        inside = 0.6 * inside + 2.6 * blot * (1.0 - blot)
    if defect.count == 2:
        inside += 0.25 * _smooth(rng, (side, side), 1.6)
    gain = 1.0 + np.float32(defect.contrast) * blot * inside
    return np.maximum(gain, 0.12), np.asarray(blot * np.float32(defect.damping), np.float32)


def _draw(defect: Defect, light: float, marks: float) -> tuple[F32, F32]:
    if defect.name == "patch":
        return _draw_patch(defect)
    if defect.name == "scratch":
        return _draw_scratch(defect, light, marks)
    return _draw_pits(defect, light)


def _truth(defect: Defect, trace: F32, left: int, top: int) -> Truth:
    """Ground truth from a trace [h, w] of visible change whose corner lies at (left, top)."""
    if not trace.any():
        raise ValueError(f"{defect.name} at {defect.centre} lies outside the plate")
    seen = trace > 0.3 * float(trace.max())
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    return Truth(defect.name, (left + x0, top + y0, x1 - x0, y1 - y0), seen[y0:y1, x0:x1])


def _expose(rng: np.random.Generator, scene: F32, optics: Optics) -> U8:
    """Lens and sensor: defocus, vignetting, shot and read noise, 8 bits.

    A picture smaller than the sensor is a window somewhere in it; light falls off with r^2 (first
    term of cos^4).  Noise in electrons: sigma^2 = signal * full well + read noise^2.
    """
    size = (scene.shape[0], scene.shape[1])
    free = [max(s - n, 0) for s, n in zip(SENSOR_SIZE, size, strict=True)]
    place = rng.uniform(0.0, 1.0, 2) * free
    half = [max(s, n) / 2 for s, n in zip(SENSOR_SIZE, size, strict=True)]
    reach = half[0] ** 2 + half[1] ** 2
    dy = (np.arange(size[0], dtype=np.float32)[:, None] + np.float32(place[0] - half[0])) ** 2
    dx = (np.arange(size[1], dtype=np.float32) + np.float32(place[1] - half[1])) ** 2
    fall = 1.0 - np.float32(optics.vignetting / reach) * (dx + dy)
    light = _blur(scene, optics.blur_px) if optics.blur_px > 0.05 else scene
    light = np.clip(light * fall * np.float32(optics.exposure), 0.0, 1.2)
    sigma = np.sqrt(light * np.float32(optics.full_well_e) + np.float32(optics.read_noise_e**2))
    grey = light + sigma / np.float32(optics.full_well_e) * _crop(rng, "white", size)
    return np.asarray(np.clip(grey * 255.0 + 0.5, 0.0, 255.0), np.uint8)


def render_plate(
    rng_or_seed: np.random.Generator | int,
    size: Size = PATCH_SIZE,
    milling: Milling | None = None,
    optics: Optics | None = None,
    defects: list[Defect] | tuple[Defect, ...] = (),
) -> Plate:
    """The picture of one plate, ``size`` = (height, width) from 200 to 1280 pixels each.

    The defects draw from their own seeds, so the same seed without them gives the clean twin.
    """
    if not all(200 <= n <= 1280 for n in size):
        raise ValueError(f"size must be 200 to 1280 pixels, not {size}")
    rng = np.random.default_rng(rng_or_seed)
    milling, optics = milling or Milling(), optics or Optics()
    marks, grain, scene, angles = _surface(rng, size, milling, optics)
    light = float(np.radians(optics.light_angle_deg))
    truths = []
    for defect in defects:
        row = min(max(defect.centre[1] * angles.shape[0] // size[0], 0), angles.shape[0] - 1)
        gain, damp = _draw(defect, light, float(angles[row, angles.shape[1] // 2]))
        left, top = (c - defect.extent_px // 2 for c in defect.centre)
        x0, y0 = max(left, 0), max(top, 0)
        x1 = max(min(left + defect.extent_px, size[1]), x0)
        y1 = max(min(top + defect.extent_px, size[0]), y0)
        here = np.s_[y0:y1, x0:x1]
        there = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        marks[here] *= 1.0 - damp[there]
        scene[here] *= gain[there]
        truths.append(_truth(defect, np.maximum(np.abs(gain - 1.0), 0.2 * damp)[there], x0, y0))
    scene *= 1.0 + marks + grain
    for _ in range(rng.poisson(0.7 * size[0] * size[1] / 40000)):  # dust, no defect
        x, y = int(rng.integers(2, size[1] - 2)), int(rng.integers(2, size[0] - 2))
        scene[y : y + 2, x : x + 2] *= np.float32(rng.uniform(0.65, 1.15))
    return Plate(_expose(rng, scene, optics), tuple(truths), milling, optics)


def random_milling(rng: np.random.Generator) -> Milling:
    """A plate of the milling experiment: Table 6 levels, the rest as machines differ."""
    rpm, depth, feed = (float(rng.choice(levels)) for levels in TABLE_6.values())
    return Milling(
        spindle_rpm=rpm,
        depth_mm=depth,
        feed_per_tooth_mm=feed,
        runout_mm=rng.uniform(0.001, 0.008),
        back_cut=rng.uniform(0.0, 0.75),
        irregularity=rng.uniform(0.006, 0.013),
        material=str(rng.choice(tuple(MATERIALS))),
    )


def random_optics(rng: np.random.Generator) -> Optics:
    """Ring light and camera as an operator sets them, a little different each time."""
    return Optics(
        light_angle_deg=rng.uniform(0.0, 360.0),
        light_elevation_deg=rng.uniform(32.0, 52.0),
        ring_evenness=rng.uniform(0.25, 0.7),
        vignetting=rng.uniform(0.08, 0.28),
        exposure=rng.uniform(0.46, 0.62),
        blur_px=rng.uniform(0.4, 0.85),
    )


def random_defect(rng: np.random.Generator, name: str, size: Size = PATCH_SIZE) -> Defect:
    """A defect of class ``name`` somewhere in a plate; strong, middling and barely visible ones."""
    if name not in CLASSES[1:]:
        raise ValueError(f"no such defect: {name}")
    strength = rng.beta(2.2, 1.2)  # 0: hard to see
    follow, angle = False, rng.uniform(0.0, 180.0)
    if name == "scratch":
        extent = int(rng.uniform(100, 170) + strength * rng.uniform(0, 110))
        contrast = (0.55 + 0.7 * strength) * (-0.75 if rng.random() < 0.3 else 1.0)
        width, count = rng.uniform(1.2, 2.6 + 2.0 * strength), int(rng.geometric(0.5))
        count, damping = min(count, 5), 0.6
        follow = rng.random() < 0.10
        angle = rng.normal(0.0, 6.0) if follow else angle
    elif name == "pitted_surface":
        extent = int(rng.uniform(100, 190))
        contrast = -(0.45 + 0.4 * strength)
        width = rng.uniform(1.3, 2.2 + 1.6 * strength)
        count, damping = int(10 + rng.uniform(0.2, 1.0) * (extent / 180) ** 2 * 90), 0.9
    else:
        extent = int(rng.uniform(120, 200))
        contrast = (0.12 + 0.38 * strength) * (-1.0 if rng.random() < 0.65 else 0.8)
        width, count = float(rng.choice((2.0, 5.0, 12.0))), int(rng.integers(0, 3))
        damping = rng.uniform(0.3, 0.9)
    edge = min(extent // 2, 80)
    x, y = (int(rng.integers(edge, n - edge + 1)) for n in (size[1], size[0]))
    seed = int(rng.integers(0, 2**31))
    return Defect(name, (x, y), extent, contrast, width, count, angle, follow, damping, seed)


def random_patch(rng_or_seed: np.random.Generator | int, name: str) -> Plate:
    """A 200x200 picture of class ``name`` under random milling, light and severity."""
    rng = np.random.default_rng(rng_or_seed)
    defects = [] if name == "clean" else [random_defect(rng, name)]
    return render_plate(rng, PATCH_SIZE, random_milling(rng), random_optics(rng), defects)


def contact_sheet(seed: int, columns: int = 8) -> U8:
    """One labelled row per class, uint8 [4 * 224, columns * 204]."""
    height, width = PATCH_SIZE
    sheet: U8 = np.full((len(CLASSES) * (height + 24), columns * (width + 4)), 24, np.uint8)
    rng = np.random.default_rng(seed)
    for row, name in enumerate(CLASSES):
        top = row * (height + 24)
        cv2.putText(sheet, name, (4, top + 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1, cv2.LINE_AA)
        for column in range(columns):
            left = column * (width + 4) + 2
            image = random_patch(rng, name).image
            sheet[top + 22 : top + 22 + height, left : left + width] = image
    return sheet
