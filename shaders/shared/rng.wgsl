// Which elements dropout keeps: a function of (seed, step, micro-batch, site, element) only. The importing file binds
// `rng`, the words [seed_lo, seed_hi, step, micro]. Gives the same bits as src/reference/dropout.rs.
const GOLDEN_RATIO: u32 = 0x9e3779b9u;

// Source: Chris Wellons, "Prospecting for Hash Functions", 2018 (lowbias32).
fn hash(word: u32) -> u32 {
    var x = word;
    x = (x ^ (x >> 16u)) * 0x7feb352du;
    x = (x ^ (x >> 15u)) * 0x846ca68bu;
    return x ^ (x >> 16u);
}

// The key of a site: the words that identify it, hashed into one.
fn dropout_key(site: u32) -> u32 {
    var key = hash(site);
    key = hash((key ^ rng[3]) + GOLDEN_RATIO);
    key = hash((key ^ rng[2]) + GOLDEN_RATIO);
    key = hash((key ^ rng[1]) + GOLDEN_RATIO);
    return hash((key ^ rng[0]) + GOLDEN_RATIO);
}

// Scales a survivor; a dropped element is 0 whatever its value.
fn dropout(key: u32, elem: u32, threshold: u32, scale: f32, value: f32) -> f32 {
    return select(0.0, value * scale, hash(key ^ hash(elem + GOLDEN_RATIO)) >= threshold);
}
