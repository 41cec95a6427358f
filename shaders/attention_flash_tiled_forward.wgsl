// attention_flash_tiled_forward: causal attention without the matrix of probabilities, through workgroup memory.
//
// Shapes:    as attention_flash_direct_forward.
// Work:      one workgroup of 128 per 32 queries of a head, 64 keys at a time; 4 x 4 scores per invocation, and 16
//            channels of the output with heads of 64. Four invocations compute a row's softmax.
// Numerics:  a running maximum and sums in f32 in the order of keys; exp of score - max only; masks are finite.
// Limits:    head sizes are multiples of 4 up to 4 HS4; T <= 64 x 65,535; every index < 2^32, except the number of a
//            dropped element, which is taken modulo 2^32.
// Source:    Dao et al. 2022, "FlashAttention", algorithm 1.
//: import index flash_tiled
@group(0) @binding(0) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> lse: array<f32>;
@group(0) @binding(2) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> rng: array<u32>;
@group(0) @binding(4) var<storage, read> spans: array<vec2<u32>>;
@group(0) @binding(5) var<uniform> params: Params;

// The factor by which each row's output shrinks.
var<workgroup> factors: array<f32, TILE>;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) id: u32,
) {
    let tile = tile_of(linear_group(group_id, num_groups), true);
    if tile.head >= params.n_all { return; }
    let keys = tile.wide + params.c4;
    let values = keys + params.c4;
    var key = 0u;
    if DROPOUT { key = dropout_key(params.site); }
    let quarter = id % 4u;
    let row = tile.first + id / 4u;
    let since = span(tile, row).x;
    var top = MASKED;
    var sum = 0.0;
    var o: array<vec4<f32>, N_SUM>;
    let end = min(tile.first + TILE, params.t);
    for (var k0 = span(tile, tile.first).x; k0 < end; k0 += OTHER) {
        var scores: array<vec4<f32>, 4>;
        for (var d0 = 0u; d0 < HS4; d0 += SLICE) {
            workgroupBarrier();
            for (var i = id; i < TILE * SLICE; i += WG) {
                shared_fours[i / SLICE * SLICE_LD + i % SLICE] =
                    four(tile.wide, tile.first + i / SLICE, d0 + i % SLICE) * params.scale;
            }
            for (var i = id; i < OTHER * SLICE; i += WG) {
                shared_fours[other_at(i / SLICE) + i % SLICE] = four(keys, k0 + i / SLICE, d0 + i % SLICE);
            }
            workgroupBarrier();
            add_scores(&scores, id % 16u, id / 16u);
        }
        workgroupBarrier();
        for (var i = 0u; i < 4u; i++) { //: unroll
            shared_fours[(id / 16u + 8u * i) * SCORES_LD + id % 16u] = scores[i];
        }
        workgroupBarrier();
        let start = id / 4u * SCORES_LD + quarter;
        var p: array<vec4<f32>, 4>;
        var peak = top;
        for (var c = 0u; c < 4u; c++) { //: unroll
            p[c] = shared_fours[start + 4u * c];
            let column = vec4<u32>(k0 + 16u * c + 4u * quarter) + vec4<u32>(0u, 1u, 2u, 3u);
            // only tiles on the diagonal and those in which documents begin hold scores to mask
            if k0 + OTHER > tile.first { p[c] = select(vec4<f32>(MASKED), p[c], column <= vec4<u32>(row)); }
            if DOCUMENTS { p[c] = select(vec4<f32>(MASKED), p[c], vec4<u32>(since) <= column); }
            peak = max(peak, max(max(p[c].x, p[c].y), max(p[c].z, p[c].w)));
        }
        quarters[id] = peak;
        workgroupBarrier();
        let first = id - quarter;
        peak = max(max(quarters[first], quarters[first + 1u]), max(quarters[first + 2u], quarters[first + 3u]));
        let shrink = exp(top - peak);
        top = peak;
        sum *= shrink;
        if quarter == 0u { factors[id / 4u] = shrink; }
        for (var c = 0u; c < 4u; c++) { //: unroll
            var e = exp(p[c] - vec4<f32>(peak));
            if DOCUMENTS {
                // before a row's document all scores so far are masked, and so is the largest
                let column = vec4<u32>(k0 + 16u * c + 4u * quarter) + vec4<u32>(0u, 1u, 2u, 3u);
                e = select(vec4<f32>(), e, vec4<u32>(since) <= column);
            }
            sum += (e.x + e.y) + (e.z + e.w);
            if DROPOUT {
                let elem = tile.elem + row * params.t + k0 + 16u * c + 4u * quarter;
                e = dropout_four(key, elem, e);
            }
            shared_fours[start + 4u * c] = e;
        }
        workgroupBarrier();
        for (var i = 0u; i < 4u; i++) { //: unroll
            if i < ROWS {
                for (var f = 0u; f < 3u; f++) { //: unroll
                    if f < FOURS { o[i % ROWS * FOURS + f % FOURS] *= factors[id / D + GROUPS * i]; }
                }
            }
        }
        for (var v0 = 0u; v0 < OTHER; v0 += PIECE) {
            workgroupBarrier();
            for (var i = id; i < PIECE * HS4; i += WG) {
                shared_fours[PIECE_AT + i] = four(values, k0 + v0 + i / HS4, i % HS4);
            }
            workgroupBarrier();
            add_products(&o, id, v0);
        }
    }
    quarters[id] = sum;
    workgroupBarrier();
    if quarter == 0u {
        sum = (quarters[id] + quarters[id + 1u]) + (quarters[id + 2u] + quarters[id + 3u]);
        factors[id / 4u] = 1.0 / sum;
        if row < params.t { lse[tile.flat + row] = top + log(sum); }
    }
    workgroupBarrier();
    for (var i = 0u; i < 4u; i++) { //: unroll
        let own = id / D + GROUPS * i;
        if i < ROWS && tile.first + own < params.t {
            for (var f = 0u; f < 3u; f++) { //: unroll
                let d = id % D + D * f;
                if f < FOURS && d < params.hs4 {
                    out[tile.narrow + (tile.first + own) * params.c4 + d] =
                        o[i % ROWS * FOURS + f % FOURS] * factors[own];
                }
            }
        }
    }
}
