// attention_decode_forward: one new position of each row against the cached keys and values, its own put there first.
//
// Shapes:    out (B, NH HS); cache (B, NH, 2, block, 4 quads), keys before values; qkv (B, 3 NH HS); cursor (B, 4):
//            token, length, ..: row b's new position is length, and positions 0..length are seen.
// Work:      one workgroup per head of a row. Scores of up to TILE positions at once, 4 per invocation; then each
//            invocation sums 4 channels over the positions of its slice.
// Numerics:  exp of (score - max) only, with the maximum of all positions so far; sums in f32, in a fixed order.
// Limits:    a length of block or more counts as block - 1; NH HS < 2^32. An invocation of 8 loops 676 times for 1,024
//            positions of a head of 128 channels, so that a software device supports blocks up to 98,000.
// Reference: src/reference/attention/decode.rs.
//: import index lanes attention_cache
//: variant cpu WG=8u LANES=8u SLICES=1u
const WG: u32 = 64u;           //: tune
const LANES: u32 = 64u;        //: tune
const SLICES: u32 = 4u;        //: tune
const TILE: u32 = 1024u;
const COLS: u32 = WG / SLICES;
const_assert LANES == WG;

struct Params { n_group: u32, n_head: u32, hs: u32, quads: u32, block: u32, scale: f32 }
@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@group(0) @binding(1) var<storage, read_write> cache: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> qkv: array<f32>;
@group(0) @binding(3) var<storage, read> cursor: array<vec4<u32>>;
@group(0) @binding(4) var<uniform> params: Params;

var<workgroup> weights: array<f32, TILE>;
var<workgroup> slices: array<vec4<f32>, WG>;

// A weight of the tile; 0 past its end.
fn weight(j: u32, n: u32) -> f32 {
    return select(0.0, weights[min(j, n - 1u)], j < n);
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    let head_idx = linear_group(group_id, num_groups);
    if head_idx >= params.n_group { return; }
    let row = head_idx / params.n_head;
    let head = head_idx % params.n_head;
    let c = params.n_head * params.hs;
    let quads = params.quads;
    let q_start = row * 3u * c + head * params.hs;
    let k_start = head_idx * 2u * params.block * quads;
    let v_start = k_start + params.block * quads;
    let out_start = row * c + head * params.hs;
    let last = min(cursor[row].y, params.block - 1u);

    for (var quad = local_id; quad < quads; quad += WG) {
        cache[k_start + last * quads + quad] = head_quad(q_start + c, quad);
        cache[v_start + last * quads + quad] = head_quad(q_start + 2u * c, quad);
    }
    storageBarrier();

    var top = -3.4028235e38;
    var sum = 0.0;
    for (var tile = 0u; tile <= last; tile += TILE) {
        let n = min(TILE, last + 1u - tile);
        let keys = k_start + tile * quads;
        var peak = -3.4028235e38;
        for (var j = local_id; j < n; j += 4u * WG) {
            // positions past the end repeat the last one
            let at = keys + quads * min(vec4<u32>(j, j + WG, j + 2u * WG, j + 3u * WG), vec4<u32>(n - 1u));
            var score = vec4<f32>(0.0);
            for (var first = 0u; first < quads; first += 4u) {
                for (var i = 0u; i < 4u; i++) { //: unroll
                    let quad = first + i;
                    if quad < quads {
                        let q = head_quad(q_start, quad);
                        score += vec4<f32>(dot(q, cache[at.x + quad]), dot(q, cache[at.y + quad]),
                            dot(q, cache[at.z + quad]), dot(q, cache[at.w + quad]));
                    }
                }
            }
            score *= params.scale;
            weights[j] = score.x;
            if j + WG < n { weights[j + WG] = score.y; }
            if j + 2u * WG < n { weights[j + 2u * WG] = score.z; }
            if j + 3u * WG < n { weights[j + 3u * WG] = score.w; }
            peak = max(max(max(peak, score.x), max(score.y, score.z)), score.w);
        }
        let new_top = max(top, lanes_max(peak, local_id));
        let fade = exp(top - new_top);
        top = new_top;
        var share = 0.0;
        for (var j = local_id; j < n; j += WG) {
            let e = exp(weights[j] - top);
            weights[j] = e;
            share += e;
        }
        sum = sum * fade + lanes_sum(share, local_id);
        let is_last = tile + TILE > last;
        let values = v_start + tile * quads;
        for (var first = 0u; first < quads; first += COLS) {
            let quad = first + local_id % COLS;
            let slice = local_id / COLS;
            var total = vec4<f32>(0.0);
            if quad < quads {
                for (var start = 4u * slice; start < n; start += 16u * SLICES) {
                    for (var i = 0u; i < 4u; i++) { //: unroll
                        let j = start + 4u * SLICES * i;
                        let at = values + quad + quads * min(vec4<u32>(j, j + 1u, j + 2u, j + 3u), vec4<u32>(n - 1u));
                        total = total + weight(j, n) * cache[at.x] + weight(j + 1u, n) * cache[at.y]
                            + weight(j + 2u, n) * cache[at.z] + weight(j + 3u, n) * cache[at.w];
                    }
                }
            }
            if SLICES > 1u {
                slices[local_id] = total;
                workgroupBarrier();
                total = vec4<f32>(0.0);
                for (var s = 0u; s < SLICES; s++) { total += slices[s * COLS + local_id % COLS]; }
                workgroupBarrier();
            }
            if slice == 0u {
                for (var j = 0u; j < 4u; j++) { //: unroll
                    let channel = 4u * quad + j;
                    if quad < quads && channel < params.hs {
                        var value = total[j];
                        if tile > 0u { value += out[out_start + channel] * fade; }
                        if is_last { value /= sum; }
                        out[out_start + channel] = value;
                    }
                }
            }
        }
        // the next tile's scores overwrite these weights
        workgroupBarrier();
    }
}
