// attention_flash_direct_backward_key: the gradients of keys and values, for software devices.
//
// Shapes:    dqkv, qkv (B, T, 3C) in column blocks q, k, v whose heads are contiguous; dout (B, T, C); lse, delta (B,
//            NH, T), the latter row sums of dout * out; rng (4); spans (B, T, 2), read with DOCUMENTS only. Only the
//            blocks of keys and values in dqkv are written.
// Work:      one workgroup of LANES per LANES OWN keys of a head; a lane owns OWN keys, and queries come in rounds.
// Numerics:  probabilities are recomputed, exp(score - lse); sums in f32 in the order of queries.
// Limits:    as attention_flash_direct_forward.
// Source:    Dao et al. 2022, "FlashAttention", algorithm 4.
//: import index flash_direct
@group(0) @binding(0) var<storage, read_write> dqkv: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> dout: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read> delta: array<f32>;
@group(0) @binding(5) var<storage, read> rng: array<u32>;
@group(0) @binding(6) var<storage, read> spans: array<vec2<u32>>;
@group(0) @binding(7) var<uniform> params: Params;

fn dout_four(start: u32, row: u32, d: u32) -> vec4<f32> {
    let at = start + min(row, params.t - 1u) * params.c4 + min(d, params.hs4 - 1u);
    return select(vec4<f32>(), dout[at], d < params.hs4);
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = tile_of(linear_group(group_id, num_groups), false);
    if tile.head >= params.n_all { return; }
    let keys = tile.wide + params.c4;
    let values = keys + params.c4;
    var key = 0u;
    if DROPOUT { key = dropout_key(params.site); }
    var k: array<vec4<f32>, N_OWN>;
    var v: array<vec4<f32>, N_OWN>;
    var dk: array<vec4<f32>, N_OWN>;
    var dv: array<vec4<f32>, N_OWN>;
    var until: array<u32, OWN>;
    for (var i = 0u; i < OWN; i++) { //: unroll
        until[i] = span(tile, own_row(tile, lane, i)).y;
        for (var d = 0u; d < HS4; d++) { //: unroll
            k[i * HS4 + d] = four(keys, own_row(tile, lane, i), d) * params.scale;
            v[i * HS4 + d] = four(values, own_row(tile, lane, i), d);
        }
    }
    let end = span(tile, tile.first + TILE - 1u).y;
    // a tile begins at a multiple of ROUND, so queries before it see none of its keys
    for (var q0 = tile.first; q0 < end; q0 += ROUND) {
        var q_rows: array<vec4<f32>, PART>;
        var dy_rows: array<vec4<f32>, PART>;
        var norms: f32;
        var means: f32;
        for (var once = 0u; once < SHUFFLE; once++) { //: unroll
            for (var d = 0u; d < HS4; d++) { //: unroll
                if d < PART {
                    q_rows[d % PART] = four(tile.wide, q0 + lane % ROUND, lane / ROUND * PART + d);
                    dy_rows[d % PART] = dout_four(tile.narrow, q0 + lane % ROUND, lane / ROUND * PART + d);
                }
            }
            norms = lse[tile.flat + min(q0 + lane % ROUND, params.t - 1u)];
            means = delta[tile.flat + min(q0 + lane % ROUND, params.t - 1u)];
        }
        var p: array<f32, OWN * ROUND>;
        var ds: array<f32, OWN * ROUND>;
        for (var j = 0u; j < ROUND; j++) { //: unroll
            var s: array<f32, OWN>;
            var dp: array<f32, OWN>;
            var norm: f32;
            var mean: f32;
            for (var once = 0u; once < SHUFFLE; once++) { //: unroll
                norm = subgroupShuffle(norms, j);
                mean = subgroupShuffle(means, j);
            }
            for (var once = 0u; once < PLAIN; once++) { //: unroll
                norm = lse[tile.flat + min(q0 + j, params.t - 1u)];
                mean = delta[tile.flat + min(q0 + j, params.t - 1u)];
            }
            for (var d = 0u; d < HS4; d++) { //: unroll
                var q: vec4<f32>;
                var dy: vec4<f32>;
                for (var once = 0u; once < SHUFFLE; once++) { //: unroll
                    q = subgroupShuffle(q_rows[d % PART], j + d / PART * ROUND);
                    dy = subgroupShuffle(dy_rows[d % PART], j + d / PART * ROUND);
                }
                for (var once = 0u; once < PLAIN; once++) { //: unroll
                    q = four(tile.wide, q0 + j, d);
                    dy = dout_four(tile.narrow, q0 + j, d);
                }
                for (var i = 0u; i < OWN; i++) { //: unroll
                    s[i] += dot(k[i * HS4 + d], q);
                    dp[i] += dot(v[i * HS4 + d], dy);
                }
            }
            for (var i = 0u; i < OWN; i++) { //: unroll
                let row = own_row(tile, lane, i);
                let e = exp(select(MASKED, s[i] - norm, row <= q0 + j && q0 + j < until[i]));
                var d = dp[i];
                p[i * ROUND + j] = e;
                if DROPOUT {
                    let elem = tile.elem + (q0 + j) * params.t + row;
                    d = dropout(key, elem, params.threshold, params.drop_scale, d);
                    p[i * ROUND + j] = dropout(key, elem, params.threshold, params.drop_scale, e);
                }
                ds[i * ROUND + j] = e * (d - mean);
            }
        }
        for (var d = 0u; d < HS4; d++) { //: unroll
            for (var j = 0u; j < ROUND; j++) { //: unroll
                var q: vec4<f32>;
                var dy: vec4<f32>;
                for (var once = 0u; once < SHUFFLE; once++) { //: unroll
                    q = subgroupShuffle(q_rows[d % PART], j + d / PART * ROUND);
                    dy = subgroupShuffle(dy_rows[d % PART], j + d / PART * ROUND);
                }
                for (var once = 0u; once < PLAIN; once++) { //: unroll
                    q = four(tile.wide, q0 + j, d);
                    dy = dout_four(tile.narrow, q0 + j, d);
                }
                for (var i = 0u; i < OWN; i++) { //: unroll
                    dk[i * HS4 + d] += ds[i * ROUND + j] * q;
                    dv[i * HS4 + d] += p[i * ROUND + j] * dy;
                }
            }
        }
    }
    for (var i = 0u; i < OWN; i++) { //: unroll
        let row = own_row(tile, lane, i);
        if row < params.t {
            for (var d = 0u; d < HS4; d++) { //: unroll
                if d < params.hs4 {
                    dqkv[keys + row * 3u * params.c4 + d] = dk[i * HS4 + d] * params.scale;
                    dqkv[values + row * 3u * params.c4 + d] = dv[i * HS4 + d];
                }
            }
        }
    }
}
