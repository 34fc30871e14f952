import cv2
import numpy as np

from semiseg.inspection.sheet import SIDE, WIDTH, Section, Tile, draw_sheet, fit, overlay

RED, BLUE = (255, 0, 0), (0, 0, 255)


def picture(color: tuple[int, int, int]) -> np.ndarray:
    return np.full((SIDE, SIDE, 3), color, dtype=np.uint8)


def area(page: np.ndarray, color: tuple[int, int, int]) -> int:
    return int((page == color).all(axis=-1).sum())


def test_overlay_mixes_inside_and_is_opaque_at_borders() -> None:
    image = np.zeros((4, 6, 3), dtype=np.uint8)
    mask = np.zeros((4, 6), dtype=np.uint8)
    mask[:, 3:] = 1
    mask[3, 5] = 255
    mixed = overlay(image, mask, (RED, BLUE))
    assert mixed[0, 0].tolist() == [115, 0, 0]  # 45 % of red over black
    assert mixed[0, 2].tolist() == [255, 0, 0] and mixed[0, 3].tolist() == [0, 0, 115]
    assert mixed[3, 5].tolist() == [115, 115, 115]  # ignored


def test_fit_keeps_proportions() -> None:
    assert fit(np.zeros((100, 50, 3), dtype=np.uint8), cv2.INTER_AREA).shape == (SIDE, SIDE // 2, 3)
    assert fit(np.zeros((32, 64), dtype=np.uint8), cv2.INTER_NEAREST).shape == (SIDE // 2, SIDE)
    assert fit(np.zeros((1, 2000), dtype=np.uint8), cv2.INTER_NEAREST).shape == (1, SIDE)


def test_every_picture_and_swatch_is_on_the_page() -> None:
    pairs = Section("pairs", [Tile([picture((1, 2, 3)), picture((4, 5, 6))], f"pair {n}", "x") for n in range(5)])
    singles = Section("singles", [Tile([picture((7, 8, 9))], f"single {n}", "y" * 200) for n in range(9)])
    page = draw_sheet("title", "subtitle", [("a", RED), ("b", BLUE)], [pairs, Section("none", []), singles])
    assert page.dtype == np.uint8 and page.shape[1:] == (WIDTH, 3)
    assert area(page, (1, 2, 3)) == area(page, (4, 5, 6)) == 5 * SIDE**2
    assert area(page, (7, 8, 9)) == 9 * SIDE**2
    assert area(page, RED) == area(page, BLUE) > 300
    assert (page[:, -8:] == 255).all()  # nothing runs over the margin


def test_page_grows_with_its_rows_and_legend() -> None:
    legend = [("class", RED)]
    section = Section("pairs", [Tile([picture(RED), picture(BLUE)], "t", "s")])
    longer = Section("pairs", [*section.tiles] * 5)
    short, tall = draw_sheet("t", "s", legend, [section]), draw_sheet("t", "s", legend, [longer])
    wrapped = draw_sheet("t", "s", legend * 60, [section])
    assert len(short) + SIDE < len(tall) and len(short) < len(wrapped)


def test_a_sheet_without_pictures_still_has_its_legend() -> None:
    assert area(draw_sheet("t", "s", [("class", RED)], []), RED) > 300
