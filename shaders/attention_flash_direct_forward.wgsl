// attention_flash_direct_forward: causal attention without the matrix of probabilities, for software devices.
//
// Shapes:    out (B, T, C), lse (B, NH, T), qkv (B, T, 3C) in column blocks q, k, v whose heads are contiguous; rng
//            (4); spans (B, T, 2), read with DOCUMENTS only. lse is the logarithm of the sum of a row's exponentials.
// Work:      one workgroup of LANES per LANES OWN queries of a head; a lane owns OWN queries, and keys come in rounds.
// Numerics:  a running maximum and sums in f32 in the order of keys; exp of score - max only; masks are finite.
// Limits:    head sizes are multiples of 4 up to 4 HS4; T <= 65,535 ROUND; every index < 2^32, except the number of a
//            dropped element, which is taken modulo 2^32.
// Source:    Dao et al. 2022, "FlashAttention", algorithm 1.
//: import index flash_direct
@group(0) @binding(0) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> lse: array<f32>;
@group(0) @binding(2) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> rng: array<u32>;
@group(0) @binding(4) var<storage, read> spans: array<vec2<u32>>;
@group(0) @binding(5) var<uniform> params: Params;

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
    var o: array<vec4<f32>, N_OWN>;
    var top: array<f32, OWN>;
    var sum: array<f32, OWN>;
    var since: array<u32, OWN>;
    for (var i = 0u; i < OWN; i++) { //: unroll
        for (var d = 0u; d < HS4; d++) { //: unroll
            q[i * HS4 + d] = four(tile.wide, own_row(tile, lane, i), d) * params.scale;
        }
        top[i] = MASKED;
        since[i] = span(tile, own_row(tile, lane, i)).x;
    }
    let end = min(tile.first + TILE, params.t);
    for (var k0 = span(tile, tile.first).x; k0 < end; k0 += ROUND) {
        var rows: array<vec4<f32>, PART>;
        for (var d = 0u; d < HS4; d++) { //: unroll
            for (var once = 0u; once < SHUFFLE; once++) { //: unroll
                if d < PART { rows[d % PART] = four(keys, k0 + lane % ROUND, lane / ROUND * PART + d); }
            }
        }
        var p: array<f32, OWN * ROUND>;
        for (var j = 0u; j < ROUND; j++) { //: unroll
            for (var d = 0u; d < HS4; d++) { //: unroll
                var k: vec4<f32>;
                for (var once = 0u; once < SHUFFLE; once++) { //: unroll
                    k = subgroupShuffle(rows[d % PART], j + d / PART * ROUND);
                }
                for (var once = 0u; once < PLAIN; once++) { //: unroll
                    k = four(keys, k0 + j, d);
                }
                for (var i = 0u; i < OWN; i++) { //: unroll
                    p[i * ROUND + j] += dot(q[i * HS4 + d], k);
                }
            }
        }
        for (var i = 0u; i < OWN; i++) { //: unroll
            let row = own_row(tile, lane, i);
            var new_top = top[i];
            for (var j = 0u; j < ROUND; j++) { //: unroll
                p[i * ROUND + j] = select(MASKED, p[i * ROUND + j], since[i] <= k0 + j && k0 + j <= row);
                new_top = max(new_top, p[i * ROUND + j]);
            }
            let shrink = exp(top[i] - new_top);
            top[i] = new_top;
            var round_sum = 0.0;
            for (var j = 0u; j < ROUND; j++) { //: unroll
                var e = exp(p[i * ROUND + j] - new_top);
                // before a row's document all scores so far are masked, and so is the largest
                if DOCUMENTS { e = select(0.0, e, since[i] <= k0 + j); }
                round_sum += e;
                p[i * ROUND + j] = e;
                if DROPOUT {
                    p[i * ROUND + j] = dropout(key, tile.elem + row * params.t + k0 + j, params.threshold,
                        params.drop_scale, e);
                }
            }
            sum[i] = sum[i] * shrink + round_sum;
            for (var d = 0u; d < HS4; d++) { //: unroll
                o[i * HS4 + d] *= shrink;
            }
        }
        for (var d = 0u; d < HS4; d++) { //: unroll
            for (var once = 0u; once < SHUFFLE; once++) { //: unroll
                if d < PART { rows[d % PART] = four(values, k0 + lane % ROUND, lane / ROUND * PART + d); }
            }
        }
        for (var d = 0u; d < HS4; d++) { //: unroll
            for (var j = 0u; j < ROUND; j++) { //: unroll
                var v: vec4<f32>;
                for (var once = 0u; once < SHUFFLE; once++) { //: unroll
                    v = subgroupShuffle(rows[d % PART], j + d / PART * ROUND);
                }
                for (var once = 0u; once < PLAIN; once++) { //: unroll
                    v = four(values, k0 + j, d);
                }
                for (var i = 0u; i < OWN; i++) { //: unroll
                    o[i * HS4 + d] += p[i * ROUND + j] * v;
                }
            }
        }
    }
    for (var i = 0u; i < OWN; i++) { //: unroll
        let row = own_row(tile, lane, i);
        if row < params.t {
            for (var d = 0u; d < HS4; d++) { //: unroll
                if d < params.hs4 { out[tile.narrow + row * params.c4 + d] = o[i * HS4 + d] / sum[i]; }
            }
            lse[tile.flat + row] = top[i] + log(sum[i]);
        }
    }
}
