// attention_flash_tiled_backward_query: the gradient of queries, and row sums of dout * out, through workgroup memory.
//
// Shapes:    as attention_flash_direct_backward_query.
// Work:      one workgroup of 128 per 32 queries of a head, 64 keys at a time; 4 x 4 scores per invocation, and 16
//            channels of the gradient with heads of 64.
// Numerics:  probabilities are recomputed, exp(score - lse); sums in f32 in the order of keys.
// Limits:    as attention_flash_tiled_forward.
// Source:    Dao et al. 2022, "FlashAttention", algorithm 4, with the loop over queries outermost.
//: import index flash_tiled
@group(0) @binding(0) var<storage, read_write> dqkv: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> delta: array<f32>;
@group(0) @binding(2) var<storage, read> dout: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> out: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> lse: array<f32>;
@group(0) @binding(6) var<storage, read> rng: array<u32>;
@group(0) @binding(7) var<storage, read> spans: array<vec2<u32>>;
@group(0) @binding(8) var<uniform> params: Params;

// Four channels of a row of dout, clamped to the last row; 0 beyond the head.
fn dout_four(start: u32, row: u32, d: u32) -> vec4<f32> {
    let at = start + min(row, params.t - 1u) * params.c4 + min(d, params.hs4 - 1u);
    return select(vec4<f32>(), dout[at], d < params.hs4);
}

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
    let y = id / 16u;
    // a quarter of the sum of each row
    let row = min(tile.first + id / 4u, params.t - 1u);
    var sum = 0.0;
    for (var d = id % 4u; d < params.hs4; d += 4u) {
        let at = tile.narrow + row * params.c4 + d;
        sum += dot(dout[at], out[at]);
    }
    quarters[id] = sum;
    workgroupBarrier();
    if id % 4u == 0u && tile.first + id / 4u < params.t {
        delta[tile.flat + row] = (quarters[id] + quarters[id + 1u]) + (quarters[id + 2u] + quarters[id + 3u]);
    }
    var norm: vec4<f32>;
    var mean: vec4<f32>;
    var since: vec4<u32>;
    for (var i = 0u; i < 4u; i++) { //: unroll
        let own = y + 8u * i;
        let first = 4u * own;
        mean[i] = (quarters[first] + quarters[first + 1u]) + (quarters[first + 2u] + quarters[first + 3u]);
        norm[i] = lse[tile.flat + min(tile.first + own, params.t - 1u)];
        since[i] = span(tile, tile.first + own).x;
    }
    var dq: array<vec4<f32>, N_SUM>;
    let end = min(tile.first + TILE, params.t);
    for (var k0 = span(tile, tile.first).x; k0 < end; k0 += OTHER) {
        var scores: array<vec4<f32>, 4>;
        var dp: array<vec4<f32>, 4>;
        for (var pass = 0u; pass < 2u; pass++) { //: unroll
            for (var d0 = 0u; d0 < HS4; d0 += SLICE) {
                workgroupBarrier();
                for (var i = id; i < TILE * SLICE; i += WG) {
                    let at = i / SLICE * SLICE_LD + i % SLICE;
                    let own = tile.first + i / SLICE;
                    if pass == 0u { shared_fours[at] = four(tile.wide, own, d0 + i % SLICE) * params.scale; }
                    if pass == 1u { shared_fours[at] = dout_four(tile.narrow, own, d0 + i % SLICE); }
                }
                for (var i = id; i < OTHER * SLICE; i += WG) {
                    let start = select(keys, values, pass == 1u);
                    shared_fours[other_at(i / SLICE) + i % SLICE] = four(start, k0 + i / SLICE, d0 + i % SLICE);
                }
                workgroupBarrier();
                if pass == 0u { add_scores(&scores, id % 16u, y); }
                if pass == 1u { add_scores(&dp, id % 16u, y); }
            }
        }
        workgroupBarrier();
        let first = k0 + 4u * (id % 16u);
        for (var i = 0u; i < 4u; i++) { //: unroll
            let own = tile.first + y + 8u * i;
            var s = scores[i] - vec4<f32>(norm[i]);
            let column = vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u);
            // only tiles on the diagonal and those in which documents begin hold scores to mask
            if k0 + OTHER > tile.first { s = select(vec4<f32>(MASKED), s, column <= vec4<u32>(own)); }
            if DOCUMENTS { s = select(vec4<f32>(MASKED), s, vec4<u32>(since[i]) <= column); }
            var d = dp[i];
            if DROPOUT { d = dropout_four(key, tile.elem + own * params.t + first, d); }
            shared_fours[(y + 8u * i) * SCORES_LD + id % 16u] = exp(s) * (d - vec4<f32>(mean[i]));
        }
        for (var v0 = 0u; v0 < OTHER; v0 += PIECE) {
            workgroupBarrier();
            for (var i = id; i < PIECE * HS4; i += WG) {
                shared_fours[PIECE_AT + i] = four(keys, k0 + v0 + i / HS4, i % HS4);
            }
            workgroupBarrier();
            add_products(&dq, id, v0);
        }
    }
    for (var i = 0u; i < 4u; i++) { //: unroll
        let own = tile.first + id / D + GROUPS * i;
        if i < ROWS && own < params.t {
            for (var f = 0u; f < 3u; f++) { //: unroll
                let d = id % D + D * f;
                if f < FOURS && d < params.hs4 {
                    dqkv[tile.wide + own * 3u * params.c4 + d] = dq[i % ROWS * FOURS + f % FOURS] * params.scale;
                }
            }
        }
    }
}
