// attention_flash_tiled_backward_key: the gradients of keys and values, through workgroup memory.
//
// Shapes:    as attention_flash_direct_backward_key.
// Work:      one workgroup of 128 per 32 keys of a head, 64 queries at a time; 4 x 4 scores per invocation, and 16
//            channels of each gradient with heads of 64.
// Numerics:  probabilities are recomputed, exp(score - lse); sums in f32 in the order of queries.
// Limits:    as attention_flash_tiled_forward.
// Source:    Dao et al. 2022, "FlashAttention", algorithm 4.
//: import index flash_tiled
@group(0) @binding(0) var<storage, read_write> dqkv: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> dout: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read> delta: array<f32>;
@group(0) @binding(5) var<storage, read> rng: array<u32>;
@group(0) @binding(6) var<storage, read> spans: array<vec2<u32>>;
@group(0) @binding(7) var<uniform> params: Params;

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
    let tile = tile_of(linear_group(group_id, num_groups), false);
    if tile.head >= params.n_all { return; }
    let keys = tile.wide + params.c4;
    let values = keys + params.c4;
    var key = 0u;
    if DROPOUT { key = dropout_key(params.site); }
    let x = id % 16u;
    let y = id / 16u;
    var dk: array<vec4<f32>, N_SUM>;
    var dv: array<vec4<f32>, N_SUM>;
    let end = span(tile, tile.first + TILE - 1u).y;
    for (var q0 = tile.first / OTHER * OTHER; q0 < end; q0 += OTHER) {
        var p: array<vec4<f32>, 4>;
        var ds: array<vec4<f32>, 4>;
        for (var pass = 0u; pass < 2u; pass++) { //: unroll
            for (var d0 = 0u; d0 < HS4; d0 += SLICE) {
                workgroupBarrier();
                for (var i = id; i < TILE * SLICE; i += WG) {
                    let start = select(keys, values, pass == 1u);
                    let scale = select(params.scale, 1.0, pass == 1u);
                    shared_fours[i / SLICE * SLICE_LD + i % SLICE] =
                        four(start, tile.first + i / SLICE, d0 + i % SLICE) * scale;
                }
                for (var i = id; i < OTHER * SLICE; i += WG) {
                    let at = other_at(i / SLICE) + i % SLICE;
                    let row = q0 + i / SLICE;
                    if pass == 0u { shared_fours[at] = four(tile.wide, row, d0 + i % SLICE); }
                    if pass == 1u { shared_fours[at] = dout_four(tile.narrow, row, d0 + i % SLICE); }
                }
                workgroupBarrier();
                if pass == 0u { add_scores(&p, x, y); }
                if pass == 1u { add_scores(&ds, x, y); }
            }
        }
        // rows are keys here, and columns queries
        let column = vec4<u32>(q0 + 4u * x) + vec4<u32>(0u, 1u, 2u, 3u);
        let at = vec4<u32>(tile.flat) + min(column, vec4<u32>(params.t - 1u));
        let norm = vec4<f32>(lse[at.x], lse[at.y], lse[at.z], lse[at.w]);
        let mean = vec4<f32>(delta[at.x], delta[at.y], delta[at.z], delta[at.w]);
        for (var i = 0u; i < 4u; i++) { //: unroll
            let own = tile.first + y + 8u * i;
            let is_seen = (vec4<u32>(own) <= column) & (column < vec4<u32>(span(tile, own).y));
            let e = exp(select(vec4<f32>(MASKED), p[i] - norm, is_seen));
            p[i] = e;
            var d = ds[i];
            if DROPOUT {
                for (var c = 0u; c < 4u; c++) { //: unroll
                    let elem = tile.elem + column[c] * params.t + own;
                    d[c] = dropout(key, elem, params.threshold, params.drop_scale, d[c]);
                    p[i][c] = dropout(key, elem, params.threshold, params.drop_scale, e[c]);
                }
            }
            ds[i] = e * (d - mean);
        }
        for (var pass = 0u; pass < 2u; pass++) { //: unroll
            workgroupBarrier();
            for (var i = 0u; i < 4u; i++) { //: unroll
                if pass == 0u { shared_fours[(y + 8u * i) * SCORES_LD + x] = p[i]; }
                if pass == 1u { shared_fours[(y + 8u * i) * SCORES_LD + x] = ds[i]; }
            }
            for (var v0 = 0u; v0 < OTHER; v0 += PIECE) {
                workgroupBarrier();
                for (var i = id; i < PIECE * HS4; i += WG) {
                    let row = q0 + v0 + i / HS4;
                    if pass == 0u { shared_fours[PIECE_AT + i] = dout_four(tile.narrow, row, i % HS4); }
                    if pass == 1u { shared_fours[PIECE_AT + i] = four(tile.wide, row, i % HS4); }
                }
                workgroupBarrier();
                if pass == 0u { add_products(&dv, id, v0); }
                if pass == 1u { add_products(&dk, id, v0); }
            }
        }
    }
    for (var i = 0u; i < 4u; i++) { //: unroll
        let own = tile.first + id / D + GROUPS * i;
        if i < ROWS && own < params.t {
            for (var f = 0u; f < 3u; f++) { //: unroll
                let d = id % D + D * f;
                if f < FOURS && d < params.hs4 {
                    let at = own * 3u * params.c4 + d;
                    dqkv[keys + at] = dk[i % ROWS * FOURS + f % FOURS] * params.scale;
                    dqkv[values + at] = dv[i % ROWS * FOURS + f % FOURS];
                }
            }
        }
    }
}
