//! A minimal GGUF reader for tests, written from the format's description.

use std::collections::BTreeMap;

use serde_json::{Value, json};

pub struct Gguf {
    pub keys: BTreeMap<String, Value>,
    /// Dimensions, the slowest first, and values.
    pub tensors: BTreeMap<String, (Vec<u64>, Vec<f32>)>,
}

struct Bytes<'a> {
    all: &'a [u8],
    at: usize,
}

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        self.at += N;
        self.all[self.at - N..self.at].try_into().unwrap()
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn text(&mut self) -> String {
        let len = usize::try_from(self.u64()).unwrap();
        self.at += len;
        String::from_utf8(self.all[self.at - len..self.at].to_vec()).unwrap()
    }

    fn value(&mut self, kind: u32) -> Value {
        match kind {
            4 => json!(self.u32()),
            5 => json!(i32::from_le_bytes(self.take())),
            6 => json!(f32::from_le_bytes(self.take())),
            7 => json!(self.take::<1>() == [1]),
            8 => json!(self.text()),
            9 => {
                let kind = self.u32();
                let len = self.u64();
                (0..len).map(|_| self.value(kind)).collect()
            }
            other => panic!("type {other}"),
        }
    }
}

pub fn parse(all: &[u8]) -> Gguf {
    let mut bytes = Bytes { all, at: 0 };
    assert_eq!(&bytes.take(), b"GGUF");
    assert_eq!(bytes.u32(), 3);
    let (n_tensor, n_key) = (bytes.u64(), bytes.u64());
    let mut keys = BTreeMap::new();
    for _ in 0..n_key {
        let (key, kind) = (bytes.text(), bytes.u32());
        let value = bytes.value(kind);
        assert!(keys.insert(key.clone(), value).is_none(), "{key} twice");
    }
    let mut infos = vec![];
    for _ in 0..n_tensor {
        let name = bytes.text();
        let n_dim = bytes.u32();
        let mut dims: Vec<u64> = (0..n_dim).map(|_| bytes.u64()).collect();
        dims.reverse();
        assert_eq!(bytes.u32(), 0, "{name} is f32");
        infos.push((name, dims, bytes.u64()));
    }
    let start = bytes.at.next_multiple_of(32);
    let mut end = start;
    let mut tensors = BTreeMap::new();
    for (name, dims, offset) in infos {
        let at = start + usize::try_from(offset).unwrap();
        assert_eq!(at, end.next_multiple_of(32), "{name} begins where the one before ends, and aligned");
        end = at + 4 * usize::try_from(dims.iter().product::<u64>()).unwrap();
        let values = all[at..end].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        assert!(tensors.insert(name.clone(), (dims, values)).is_none(), "{name} twice");
    }
    assert_eq!(all.len(), end.next_multiple_of(32));
    Gguf { keys, tensors }
}
