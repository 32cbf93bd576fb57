//! Converting an image: decoded within limits, rotated upright, scaled down, encoded anew.
//! Few at a time, since a large image takes memory.

use std::{io::Cursor, sync::LazyLock};

use bytes::Bytes;
use domain::Error;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, imageops::FilterType};
use runtime::heavy::{HeavyPool, MAX_NICE, Whose, heavy};

use super::MAX_BYTES;

/// Format of stored images: WebP without loss.
pub(super) const EXTENSION: &str = "webp";
/// Accepted formats.
const TAKEN: [ImageFormat; 4] = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif];
/// Maximum side of a stored image, in pixels.
const MAX_SIDE: u32 = 512;
/// Maximum side of an accepted image, in pixels.
const MAX_ACCEPTED_SIDE: u32 = 8192;
/// Maximum memory of a decoder: 8192 × 8192 pixels of three bytes, and its working memory.
const MAX_MEMORY: u64 = 256 << 20;

/// Each may take [`MAX_MEMORY`]: two at once. Waiting ones hold the uploaded file, at most [`MAX_BYTES`].
static PAINTERS: LazyLock<HeavyPool> = LazyLock::new(|| HeavyPool::new("pictures", 2, 8, MAX_NICE));

/// The stored form of an uploaded image.
pub(super) async fn of(file: Bytes) -> Result<Bytes, Error> {
    if file.len() as u64 > MAX_BYTES {
        return Err(Error::too_large("a picture may have at most 5 MiB"));
    }
    heavy(&PAINTERS, Whose::client(), move |_| small(&file)).await?
}

fn small(file: &[u8]) -> Result<Bytes, Error> {
    let reader = ImageReader::new(Cursor::new(file)).with_guessed_format();
    let mut reader = reader.map_err(|_| not_a_picture("can't be read"))?;
    if !reader.format().is_some_and(|format| TAKEN.contains(&format)) {
        return Err(not_a_picture("must be a PNG, JPEG, WebP or GIF image"));
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_ACCEPTED_SIDE);
    limits.max_image_height = Some(MAX_ACCEPTED_SIDE);
    limits.max_alloc = Some(MAX_MEMORY);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|error| refused(&error))?;
    let orientation = decoder.orientation().map_err(|error| refused(&error))?;
    let picture = DynamicImage::from_decoder(decoder).map_err(|error| refused(&error))?;
    let mut picture = if picture.width().max(picture.height()) > MAX_SIDE {
        picture.resize(MAX_SIDE, MAX_SIDE, FilterType::Triangle)
    } else {
        picture
    };
    picture.apply_orientation(orientation);
    // Eight bits per channel: WebP has no more.
    let picture = if picture.color().has_alpha() {
        DynamicImage::from(picture.into_rgba8())
    } else {
        DynamicImage::from(picture.into_rgb8())
    };
    let mut encoded = Cursor::new(Vec::new());
    let written = picture.write_to(&mut encoded, ImageFormat::WebP);
    written.map_err(|error| Error::internal(format!("a picture could not be made: {error}")))?;
    Ok(encoded.into_inner().into())
}

/// Not one of the formats, broken, or larger than can be decoded.
fn not_a_picture(reason: &str) -> Error {
    Error::invalid("file", reason)
}

/// The error of a decoder: caused by the file in any case.
fn refused(error: &image::ImageError) -> Error {
    not_a_picture(match error {
        image::ImageError::Limits(_) => "must have at most 8192 by 8192 pixels",
        _ => "is broken",
    })
}

#[cfg(test)]
mod tests {
    use image::{Rgba, RgbaImage};

    use super::*;

    fn encoded(picture: &RgbaImage, format: ImageFormat) -> Vec<u8> {
        let picture = DynamicImage::from(picture.clone());
        // JPEG has no alpha.
        let picture =
            if format == ImageFormat::Jpeg { DynamicImage::from(picture.into_rgb8()) } else { picture };
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn decoded(bytes: &[u8]) -> DynamicImage {
        image::load_from_memory_with_format(bytes, ImageFormat::WebP).unwrap()
    }

    #[test]
    fn every_format_becomes_a_small_webp_of_the_same_shape() {
        let wide = RgbaImage::from_pixel(1024, 300, Rgba([200, 30, 30, 255]));
        for format in TAKEN {
            let small = decoded(&small(&encoded(&wide, format)).unwrap());
            assert_eq!((small.width(), small.height()), (512, 150), "{format:?}");
        }
        let tiny = RgbaImage::from_pixel(3, 2, Rgba([1, 2, 3, 4]));
        let kept = decoded(&small(&encoded(&tiny, ImageFormat::Png)).unwrap()).into_rgba8();
        assert_eq!(kept, tiny);
    }

    #[test]
    fn a_picture_that_lies_on_its_side_is_turned_upright() {
        let bytes = encoded(&RgbaImage::from_pixel(40, 20, Rgba([9, 9, 9, 255])), ImageFormat::Jpeg);
        // Behind the first marker: an EXIF block that says "turn me by 90 degrees".
        let tiff = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        let length = u16::try_from(tiff.len() + 2).unwrap().to_be_bytes();
        let turned = [&bytes[..2], b"\xff\xe1", &length, tiff, &bytes[2..]].concat();
        let small = decoded(&small(&turned).unwrap());
        assert_eq!((small.width(), small.height()), (20, 40));
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        let svg = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>";
        let broken = &encoded(&RgbaImage::new(20, 20), ImageFormat::Png)[..60];
        for (file, reason) in [
            (&svg[..], "must be a PNG, JPEG, WebP or GIF image"),
            (b"", "must be a PNG, JPEG, WebP or GIF image"),
            (b"BM123456789012345678901234567890", "must be a PNG, JPEG, WebP or GIF image"),
            (broken, "is broken"),
        ] {
            let refused = small(file).unwrap_err();
            assert_eq!(refused.kind(), not_a_picture(reason).kind());
        }
    }

    #[test]
    fn a_picture_that_would_take_too_much_memory_is_refused_before_it_does() {
        let mut png = encoded(&RgbaImage::new(1, 1), ImageFormat::Png);
        // Its header declares 60,000 × 60,000, with a matching checksum.
        png[16..20].copy_from_slice(&60_000_u32.to_be_bytes());
        png[20..24].copy_from_slice(&60_000_u32.to_be_bytes());
        let checksum = crc32(&png[12..29]);
        png[29..33].copy_from_slice(&checksum.to_be_bytes());
        let refused = small(&png).unwrap_err();
        assert_eq!(refused.to_string(), "file: must have at most 8192 by 8192 pixels");
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
        })
    }
}
