"""What GDCM 3.0.21 (Debian 12) does not know."""

UNKNOWN_CLASSES = {
    f"1.2.840.10008.5.1.4.1.1.{suffix}"
    for suffix in (
        "12.2.1",
        "30",
        "66.7",
        "77.1.3",
        "77.1.7",
        *(f"77.1.5.{number}" for number in (3, 5, 6, 7, 8)),
    )
}
"""SOP classes that it takes for no images, so that it reads no pixels of them, label maps among them."""
