// attention_flash_direct_backward_query: the gradient of queries, and row sums of dout * out, for software devices.
//
// Shapes:    dqkv, qkv (B, T, 3C) in column blocks q, k, v whose heads are contiguous; delta, lse (B, NH, T); dout, out
//            (B, T, C); rng (4); spans (B, T, 2), read with DOCUMENTS only. Only the block of queries in dqkv is
//            written.
// Work:      one workgroup of LANES per LANES OWN queries of a head; a lane owns OWN queries, and keys come in rounds.
// Numerics:  probabilities are recomputed, exp(score - lse); sums in f32 in the order of keys.
// Limits:    as attention_flash_direct_forward.
// Source:    Dao et al. 2022, "FlashAttention", algorithm 4, with the loop over queries outermost.
//: import index flash_direct
@group(0) @binding(0) var<storage, read_write> dqkv: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> delta: array<f32>;
@group(0) @binding(2) var<storage, read> dout: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> out: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> lse: array<f32>;
@group(0) @binding(6) var<storage, read> rng: array<u32>;
@group(0) @binding(7) var<storage, read> spans: array<vec2<u32>>;
@group(0) @binding(8) var<uniform> params: Params;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = tile_of(linear_group(group_id, num_groups), true);
    if tile.head >= params.n_all { return; }
    let keys = tile.wide + params.c4;
    let values = keys + params.c4;
    var key = 0u;
    if DROPOUT { key = dropout_key(params.site); }
    var q: array<vec4<f32>, N_OWN>;
    var dy: array<vec4<f32>, N_OWN>;
    var dq: array<vec4<f32>, N_OWN>;
    var norm: array<f32, OWN>;
    var mean: array<f32, OWN>;
    var since: array<u32, OWN>;
    for (var i = 0u; i < OWN; i++) { //: unroll
        let row = min(own_row(tile, lane, i), params.t - 1u);
        for (var d = 0u; d < HS4; d++) { //: unroll
            q[i * HS4 + d] = four(tile.wide, row, d) * params.scale;
            let at = tile.narrow + row * params.c4 + min(d, params.hs4 - 1u);
            dy[i * HS4 + d] = select(vec4<f32>(), dout[at], d < params.hs4);
            mean[i] += dot(dy[i * HS4 + d], out[at]);
        }
        norm[i] = lse[tile.flat + row];
        since[i] = span(tile, row).x;
        if own_row(tile, lane, i) < params.t { delta[tile.flat + row] = mean[i]; }
    }
    let end = min(tile.first + TILE, params.t);
    for (var k0 = span(tile, tile.first).x; k0 < end; k0 += ROUND) {
        var k_rows: array<vec4<f32>, PART>;
        var v_rows: array<vec4<f32>, PART>;
        for (var d = 0u; d < HS4; d++) { //: unroll
            for (var once = 0u; once < SHUFFLE; once++) { //: unroll
                if d < PART {
                    k_rows[d % PART] = four(keys, k0 + lane % ROUND, lane / ROUND * PART + d);
                    v_rows[d % PART] = four(values, k0 + lane % ROUND, lane / ROUND * PART + d);
                }
            }
        }
        var ds: array<f32, OWN * ROUND>;
        for (var j = 0u; j < ROUND; j++) { //: unroll
            var s: array<f32, OWN>;
            var dp: array<f32, OWN>;
            for (var d = 0u; d < HS4; d++) { //: unroll
                var k: vec4<f32>;
                var v: vec4<f32>;
                for (var once = 0u; once < SHUFFLE; once++) { //: unroll
                    k = subgroupShuffle(k_rows[d % PART], j + d / PART * ROUND);
                    v = subgroupShuffle(v_rows[d % PART], j + d / PART * ROUND);
                }
                for (var once = 0u; once < PLAIN; once++) { //: unroll
                    k = four(keys, k0 + j, d);
                    v = four(values, k0 + j, d);
                }
                for (var i = 0u; i < OWN; i++) { //: unroll
                    s[i] += dot(q[i * HS4 + d], k);
                    dp[i] += dot(dy[i * HS4 + d], v);
                }
            }
            for (var i = 0u; i < OWN; i++) { //: unroll
                let row = own_row(tile, lane, i);
                let p = exp(select(MASKED, s[i] - norm[i], since[i] <= k0 + j && k0 + j <= row));
                var d = dp[i];
                if DROPOUT {
                    d = dropout(key, tile.elem + row * params.t + k0 + j, params.threshold, params.drop_scale, d);
                }
                ds[i * ROUND + j] = p * (d - mean[i]);
            }
        }
        for (var d = 0u; d < HS4; d++) { //: unroll
            for (var j = 0u; j < ROUND; j++) { //: unroll
                var k: vec4<f32>;
                for (var once = 0u; once < SHUFFLE; once++) { //: unroll
                    k = subgroupShuffle(k_rows[d % PART], j + d / PART * ROUND);
                }
                for (var once = 0u; once < PLAIN; once++) { //: unroll
                    k = four(keys, k0 + j, d);
                }
                for (var i = 0u; i < OWN; i++) { //: unroll
                    dq[i * HS4 + d] += ds[i * ROUND + j] * k;
                }
            }
        }
    }
    for (var i = 0u; i < OWN; i++) { //: unroll
        let row = own_row(tile, lane, i);
        if row < params.t {
            for (var d = 0u; d < HS4; d++) { //: unroll
                if d < params.hs4 {
                    dqkv[tile.wide + row * 3u * params.c4 + d] = dq[i * HS4 + d] * params.scale;
                }
            }
        }
    }
}
