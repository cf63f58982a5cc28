//! The decoder against what others encoded.

use super::*;
use httlib_hpack::Encoder;
use proptest::prelude::*;
use std::{env, fs, path::PathBuf};

type Field = (Option<Vec<u8>>, Option<Vec<u8>>);

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<Field>, Malformed> {
    let mut fields = Fields::new(1 << 20);
    decoder.decode(block, &mut fields)?;
    let owned = |text: Option<&[u8]>| text.map(<[u8]>::to_vec);
    Ok(fields
        .iter()
        .map(|(name, value)| (owned(name), owned(value)))
        .collect())
}

/// The stories of <https://github.com/http2jp/hpack-test-case>, which the package of `httlib-hpack` carries.
fn stories() -> anyhow::Result<PathBuf> {
    let home = |home: &str, behind: &str| Some(PathBuf::from(env::var_os(home)?).join(behind));
    let home = home("CARGO_HOME", "").or_else(|| home("HOME", ".cargo"));
    let sources = home.unwrap_or_default().join("registry/src");
    let registries = fs::read_dir(&sources)?.filter_map(Result::ok);
    let packages = registries.filter_map(|registry| fs::read_dir(registry.path()).ok());
    packages
        .flat_map(|packages| packages.filter_map(Result::ok))
        .find(|package| {
            package
                .file_name()
                .as_encoded_bytes()
                .starts_with(b"httlib-hpack-")
        })
        .map(|package| package.path().join("fixtures"))
        .ok_or_else(|| anyhow::anyhow!("no source of httlib-hpack in {}", sources.display()))
}

#[test]
fn stories_of_other_encoders() -> anyhow::Result<()> {
    let (mut told, mut blocks) = (0, 0);
    for encoder in fs::read_dir(stories()?)? {
        let encoder = encoder?.path();
        if !encoder.is_dir() {
            continue;
        }
        // Two of each show all that an encoder does; there are over four hundred, of 64 MB.
        for story in ["story_21.json", "story_30.json"] {
            let Ok(story) = fs::read(encoder.join(story)) else {
                continue;
            };
            let story: serde_json::Value = serde_json::from_slice(&story)?;
            let mut decoder = Decoder::new(1 << 16);
            for case in story["cases"].as_array().into_iter().flatten() {
                let block = examples::octets(case["wire"].as_str().unwrap_or_default());
                if let Some(size) = case["header_table_size"].as_u64() {
                    // Set from outside: some of these encoders never say it.
                    decoder.table.resize(size as usize);
                }
                let headers = case["headers"].as_array().into_iter().flatten();
                let headers = headers.flat_map(|header| header.as_object().into_iter().flatten());
                let expect: Vec<Field> = headers
                    .map(|(name, value)| {
                        let value = value.as_str().unwrap_or_default();
                        (Some(name.clone().into_bytes()), Some(value.as_bytes().to_vec()))
                    })
                    .collect();
                assert_eq!(decode(&mut decoder, &block), Ok(expect), "{}", encoder.display());
                blocks += 1;
            }
            told += 1;
        }
    }
    assert!(told >= 20 && blocks > 1000, "{told} stories, {blocks} blocks");
    Ok(())
}

/// Name, value, and how to encode it.
type Plain = (String, String, u8);

/// A block, and the size update before it.
type Updated = (Option<u32>, Vec<Plain>);

/// Fields of a block: few names and values, so that they come again.
fn block() -> impl Strategy<Value = Vec<Plain>> {
    let name = prop_oneof![
        Just(":path".to_owned()),
        Just("user-agent".to_owned()),
        "[a-d]{1,3}",
        "[a-z-]{1,40}",
    ];
    let value = prop_oneof!["[0-3]{0,2}", "[ -~]{0,30}", "[ -~]{100,300}"];
    // Huffman for name or value; added to the table, never or not; by the index where there is one.
    let flags = (
        0_u8..4,
        prop_oneof![Just(0_u8), Just(4), Just(4), Just(8)],
        prop_oneof![Just(0_u8), Just(16)],
    );
    let flags = flags.prop_map(|(huffman, added, best)| huffman | added | best);
    proptest::collection::vec((name, value, flags), 0..6)
}

/// Blocks, each with a size update before it perhaps.
fn blocks() -> impl Strategy<Value = Vec<Updated>> {
    let size = prop_oneof![5 => Just(None), 1 => (0_u32..600).prop_map(Some), 1 => Just(Some(4096))];
    proptest::collection::vec((size, block()), 1..20)
}

type Encoded = Vec<(Vec<u8>, Vec<Field>)>;

fn encode(blocks: &[Updated]) -> Encoded {
    let mut encoder = Encoder::default();
    let encode = |(size, fields): &Updated| {
        let (mut wire, mut expect) = (Vec::new(), Vec::new());
        if let Some(size) = size {
            encoder.update_max_dynamic_size(*size, &mut wire).expect("a size");
        }
        for (name, value, flags) in fields {
            let (name, value) = (name.as_bytes().to_vec(), value.as_bytes().to_vec());
            encoder
                .encode((name.clone(), value.clone(), *flags), &mut wire)
                .expect("a field");
            expect.push((Some(name), Some(value)));
        }
        (wire, expect)
    };
    blocks.iter().map(encode).collect()
}

proptest! {
    #[test]
    fn what_another_encodes_is_decoded(blocks in blocks()) {
        let mut decoder = Decoder::new(1 << 16);
        for (wire, expect) in encode(&blocks) {
            prop_assert_eq!(decode(&mut decoder, &wire), Ok(expect));
        }
    }

    #[test]
    fn a_missed_block_makes_fields_unknown_and_never_wrong(
        blocks in blocks(),
        missed in proptest::collection::vec(any::<bool>(), 20),
        limit in prop_oneof![Just(1 << 16), 0_usize..500],
    ) {
        let mut decoder = Decoder::new(limit);
        for ((wire, expect), missed) in encode(&blocks).into_iter().zip(missed) {
            if missed {
                decoder.forget();
                continue;
            }
            let told = decode(&mut decoder, &wire).expect("a block");
            prop_assert_eq!(told.len(), expect.len());
            for (told, expect) in told.into_iter().zip(expect) {
                prop_assert!(told.0.is_none() || told.0 == expect.0);
                prop_assert!(told.1.is_none() || told.1 == expect.1);
            }
        }
    }

    #[test]
    fn no_input_panics_and_memory_is_bounded(
        blocks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..10),
        limit in 0_usize..300,
    ) {
        let mut decoder = Decoder::new(limit);
        for block in blocks {
            let mut fields = Fields::new(limit);
            if decoder.decode(&block, &mut fields).is_err() {
                decoder.forget();
            }
            prop_assert!(fields.cost() <= limit);
            prop_assert!(decoder.table.size() <= limit.max(32));
        }
    }
}
