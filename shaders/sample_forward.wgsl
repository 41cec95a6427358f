// sample_forward: each row's next token, chosen from its logits.
//
// Shapes:    cursor (n_row, 4): token, length, tokens drawn, stream; text (n_row, n_text); logits (n_row, n_col);
//            settings: temperature and top-p as the bits of f32, top-k, seed low and high, .., and from word 8 on a bit
//            for each forbidden token; fed (n_row).
// Work:      one workgroup per row. Two sums over the row; top-k and top-p search for their smallest logit, 4 guesses a
//            pass.
// Numerics:  weights exp((logit - max) / temperature); f32 sums in a fixed order; the random number has 24 bits.
// Limits:    n_col <= 2^18, so that counts are exact in f32 and no invocation exceeds 65,535 iterations.
// Reference: src/reference/sample.rs.
//: import index sample_search
//: variant cpu WG=64u
const WG: u32 = 256u;          //: tune

struct Params { n_row: u32, n_col: u32, n_text: u32 }
@group(0) @binding(0) var<storage, read_write> cursor: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> text: array<u32>;
@group(0) @binding(2) var<storage, read> logits: array<f32>;
@group(0) @binding(3) var<storage, read> settings: array<u32>;
@group(0) @binding(4) var<storage, read> fed: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;

const NONE: u32 = 0xffffffffu;
const FORBIDDEN: u32 = 8u;
const GOLDEN_RATIO: u32 = 0x9e3779b9u;

// Source: Chris Wellons, "Prospecting for Hash Functions", 2018 (lowbias32).
fn hash(word: u32) -> u32 {
    var x = word;
    x = (x ^ (x >> 16u)) * 0x7feb352du;
    x = (x ^ (x >> 15u)) * 0x846ca68bu;
    return x ^ (x >> 16u);
}

// Uniform in [0, 1): a function of the seed, the stream and the number drawn before.
fn uniform_draw(drawn: u32, stream: u32) -> f32 {
    var key = hash(0u);
    key = hash((key ^ drawn) + GOLDEN_RATIO);
    key = hash((key ^ stream) + GOLDEN_RATIO);
    key = hash((key ^ settings[4]) + GOLDEN_RATIO);
    key = hash((key ^ settings[3]) + GOLDEN_RATIO);
    return f32(key >> 8u) * (1.0 / 16777216.0);
}

// Narrows the kept tokens to the most likely ones that reach `need`: a count or, with `by_weight`, a sum of weights.
fn keep_likeliest(need: f32, by_weight: bool, local_id: u32) {
    let key = search_key(need, by_weight, local_id);
    let above = measure_keys(vec4<u32>(key + 1u), by_weight, local_id).x;
    if key > least_key { last_tie = NONE; }
    least_key = key;
    // of the tokens tied for the last places, the first ones stay, at least one
    var n_tie = need - above;
    if by_weight { n_tie = ceil(n_tie / weight(value_of(key))); }
    last_tie = search_tie(max(n_tie, 1.0), local_id);
}

// The token at a random point of the kept weights, laid end to end in order of ids.
fn draw(point: f32, local_id: u32) -> u32 {
    // each invocation takes a run of ids
    let len = (params.n_col + WG - 1u) / WG;
    let first = min(local_id * len, params.n_col);
    let end = min(first + len, params.n_col);
    var sum = 0.0;
    var latest = NONE;
    for (var i = first; i < end; i++) {
        if is_kept(i) {
            sum += weight(logits[start + i]);
            latest = i;
        }
    }
    fours[local_id] = vec4<f32>(sum, 0.0, 0.0, 0.0);
    ids[local_id] = latest;
    workgroupBarrier();
    var total = 0.0;
    for (var lane = 0u; lane < WG; lane++) { total += fours[lane].x; }
    let goal = point * total;
    // the run that contains the goal or, if rounding hides it, the last non-empty run
    var before = 0.0;
    var found_before = 0.0;
    var found = 0u;
    var is_found = false;
    for (var lane = 0u; lane < WG; lane++) {
        let after = before + fours[lane].x;
        if !is_found && ids[lane] != NONE {
            found = lane;
            found_before = before;
            is_found = after > goal;
        }
        before = after;
    }
    let fallback = ids[found];
    workgroupBarrier();
    if local_id == found {
        var token = fallback;
        var running = found_before;
        for (var i = first; i < end; i++) {
            if is_kept(i) {
                running += weight(logits[start + i]);
                if running > goal {
                    token = i;
                    break;
                }
            }
        }
        ids[0] = token;
    }
    return workgroupUniformLoad(&ids[0]);
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    let row = linear_group(group_id, num_groups);
    if row >= params.n_row || fed[row] == 0u { return; }
    let at = cursor[row];
    start = row * params.n_col;
    temperature = bitcast<f32>(settings[0]);
    let top_p = bitcast<f32>(settings[2]);
    least_key = 1u;
    last_tie = NONE;
    let best = find_best(local_id);
    top_key = best.x;
    top_logit = value_of(best.x);
    var token = select(NONE, best.y, best.x > 0u);
    if best.x > 0u && temperature > 0.0 {
        if settings[1] > 0u && settings[1] < params.n_col {
            keep_likeliest(f32(settings[1]), false, local_id);
        }
        if top_p < 1.0 {
            let all = measure_keys(vec4<u32>(1u), true, local_id).x;
            keep_likeliest(top_p * all, true, local_id);
        }
        token = draw(uniform_draw(at.z, at.w), local_id);
    }
    if local_id == 0u {
        text[row * params.n_text + at.z % params.n_text] = token;
        cursor[row] = vec4<u32>(token, at.y + fed[row], at.z + 1u, at.w);
    }
}
