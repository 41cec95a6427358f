// Searches over one row of logits by its WG invocations together. A logit's key is a u32 in the same order, 0 if the
// logit isn't finite or its token is forbidden. Kept are keys above `least_key`, and those equal to it up to the id
// `last_tie`.
var<workgroup> fours: array<vec4<f32>, WG>;
var<workgroup> keys: array<u32, WG>;
var<workgroup> ids: array<u32, WG>;

var<private> start: u32;        // the row's first element
var<private> temperature: f32;
var<private> top_key: u32;      // the largest logit, as key and value
var<private> top_logit: f32;
var<private> least_key: u32;
var<private> last_tie: u32;

fn key_of(i: u32) -> u32 {
    if ((settings[FORBIDDEN + (i >> 5u)] >> (i & 31u)) & 1u) != 0u { return 0u; }
    var bits = bitcast<u32>(logits[start + i]);
    if (bits & 0x7fffffffu) >= 0x7f800000u { return 0u; }
    // minus zero equals zero
    if bits == 0x80000000u { bits = 0u; }
    return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

fn value_of(key: u32) -> f32 {
    return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}

fn weight(logit: f32) -> f32 {
    return exp((logit - top_logit) / temperature);
}

fn is_kept(i: u32) -> bool {
    let key = key_of(i);
    return key > least_key || key == least_key && i <= last_tie;
}

// The largest key, and the first id with it.
fn find_best(local_id: u32) -> vec2<u32> {
    var key = 0u;
    var id = 0u;
    for (var i = local_id; i < params.n_col; i += WG) {
        let other = key_of(i);
        if other > key {
            key = other;
            id = i;
        }
    }
    keys[local_id] = key;
    ids[local_id] = id;
    workgroupBarrier();
    for (var step = WG / 2u; step > 0u; step /= 2u) {
        if local_id < step {
            let other = local_id + step;
            if keys[other] > keys[local_id] || keys[other] == keys[local_id] && ids[other] < ids[local_id] {
                keys[local_id] = keys[other];
                ids[local_id] = ids[other];
            }
        }
        workgroupBarrier();
    }
    return vec2<u32>(workgroupUniformLoad(&keys[0]), workgroupUniformLoad(&ids[0]));
}

fn sum_over_lanes(values: vec4<f32>, local_id: u32) -> vec4<f32> {
    fours[local_id] = values;
    workgroupBarrier();
    for (var step = WG / 2u; step > 0u; step /= 2u) {
        if local_id < step { fours[local_id] += fours[local_id + step]; }
        workgroupBarrier();
    }
    return workgroupUniformLoad(&fours[0]);
}

fn measured(i: u32, pivots: vec4<u32>, by_weight: bool) -> vec4<f32> {
    if i >= params.n_col || !is_kept(i) { return vec4<f32>(0.0); }
    var value = 1.0;
    if by_weight { value = weight(logits[start + i]); }
    return select(vec4<f32>(0.0), vec4<f32>(value), vec4<u32>(key_of(i)) >= pivots);
}

// For each pivot, the number of kept logits with at least that key, or the sum of their weights.
fn measure_keys(pivots: vec4<u32>, by_weight: bool, local_id: u32) -> vec4<f32> {
    var sums = vec4<f32>(0.0);
    for (var i = local_id; i < params.n_col; i += 4u * WG) {
        sums = sums + measured(i, pivots, by_weight) + measured(i + WG, pivots, by_weight)
            + measured(i + 2u * WG, pivots, by_weight) + measured(i + 3u * WG, pivots, by_weight);
    }
    return sum_over_lanes(sums, local_id);
}

// The largest key such that the kept logits from it upwards reach `need`; `least_key` if all of them don't.
fn search_key(need: f32, by_weight: bool, local_id: u32) -> u32 {
    var low = least_key;
    var high = top_key + 1u;
    while high - low > 1u {
        let width = high - low;
        let parts = vec4<u32>(1u, 2u, 3u, 4u);
        let pivots = low + width / 5u * parts + width % 5u * parts / 5u;
        let enough = measure_keys(pivots, by_weight, local_id) >= vec4<f32>(need);
        // the measured values fall from pivot to pivot
        if enough.w { low = pivots.w; }
        else if enough.z { low = pivots.z; high = pivots.w; }
        else if enough.y { low = pivots.y; high = pivots.z; }
        else if enough.x { low = pivots.x; high = pivots.y; }
        else { high = pivots.x; }
    }
    return low;
}

fn tie(i: u32, pivots: vec4<u32>) -> vec4<f32> {
    let is_tie = i < params.n_col && i <= last_tie && key_of(i) == least_key;
    return select(vec4<f32>(0.0), vec4<f32>(1.0), vec4<bool>(is_tie) & (vec4<u32>(i) <= pivots));
}

// The id of the `need`th logit that equals `least_key`; `last_tie` if there are fewer.
fn search_tie(need: f32, local_id: u32) -> u32 {
    var low = 0u; // the answer is at least this
    var high = min(last_tie, params.n_col);
    while low < high {
        let width = high - low;
        let parts = vec4<u32>(0u, 1u, 2u, 3u);
        let pivots = low + width / 4u * parts + width % 4u * parts / 4u;
        var sums = vec4<f32>(0.0);
        for (var i = local_id; i < params.n_col; i += 4u * WG) {
            sums = sums + tie(i, pivots) + tie(i + WG, pivots) + tie(i + 2u * WG, pivots) + tie(i + 3u * WG, pivots);
        }
        let enough = sum_over_lanes(sums, local_id) >= vec4<f32>(need);
        if enough.x { high = pivots.x; }
        else if enough.y { low = pivots.x + 1u; high = pivots.y; }
        else if enough.z { low = pivots.y + 1u; high = pivots.z; }
        else if enough.w { low = pivots.z + 1u; high = pivots.w; }
        else { low = pivots.w + 1u; }
    }
    return low;
}
