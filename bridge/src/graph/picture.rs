//! The check of a picture that a server has drawn: it is a whole PNG of a bounded size. It decodes no pixel. Pure.

/// The longest picture, in bytes: that of an answer's files.
pub(crate) const LARGEST: usize = tellhal::attached::LONGEST;
/// The largest picture, in pixels. A small file can be an enormous picture, which the reader's program would unpack.
const MOST_PIXELS: u64 = 8_000_000;
/// The first bytes of every PNG, up to the type of its first chunk.
const BEGIN: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR";
/// The last chunk of every PNG.
const END: &[u8] = b"\0\0\0\0IEND\xae\x42\x60\x82";

/// Width and height of a PNG. The error is what is wrong with it.
pub(crate) fn size(bytes: &[u8]) -> Result<(u32, u32), String> {
    let Some(rest) = bytes.strip_prefix(BEGIN) else { return Err("no PNG picture".into()) };
    let number = |rest: &[u8]| rest.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes));
    let (Some(width), Some(height)) = (number(rest), rest.get(4..).and_then(number)) else {
        return Err("a PNG picture that breaks off".into());
    };
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels > MOST_PIXELS {
        return Err(format!(
            "a picture of {width} × {height} pixels, more than {} million",
            MOST_PIXELS / 1_000_000
        ));
    }
    match bytes.ends_with(END) {
        true => Ok((width, height)),
        false => Err("a PNG picture that breaks off".into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        [BEGIN, &width.to_be_bytes(), &height.to_be_bytes(), b"\x08\x02\0\0\0crc.", END].concat()
    }

    #[test]
    fn only_a_whole_picture_of_a_bounded_size_passes() {
        assert_eq!(size(&png(800, 400)), Ok((800, 400)));
        let wrong = |bytes: &[u8]| size(bytes).unwrap_err();
        assert_eq!(wrong(b"<html>Log in"), "no PNG picture");
        assert_eq!(wrong(b"GIF89a"), "no PNG picture");
        assert_eq!(wrong(BEGIN), "a PNG picture that breaks off");
        let whole = png(8, 4);
        assert_eq!(wrong(&whole[..whole.len() - 1]), "a PNG picture that breaks off");
        assert_eq!(wrong(&png(65_535, 65_535)), "a picture of 65535 × 65535 pixels, more than 8 million");
        assert!(wrong(&png(u32::MAX, u32::MAX)).contains("more than 8 million"));
        assert!(size(&png(0, 5)).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), whole in any::<bool>()) {
            let bytes = if whole { [BEGIN, &bytes].concat() } else { bytes };
            let _ = size(&bytes);
        }
    }
}
