// The register tile of the direct matmul kernels: no workgroup memory and no barrier. The importing file loads four
// elements along an axis (`a_over_k`, `a_over_m`, `b_over_k`, `b_over_n`) and stores four (`store`).
const WG: u32 = 16u;  //: tune
const TM4: u32 = 4u;  //: tune
const TN4: u32 = 4u;  //: tune
const TM: u32 = 4u * TM4;
const TN: u32 = 4u * TN4;
const N_SUM: u32 = TM * TN4;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    // neighbouring invocations take tiles one below the other, so that B's strip stays in the cache
    let tiles_m = (params.m + TM - 1u) / TM;
    let tiles_n = (params.n + TN - 1u) / TN;
    let tile = linear_group(group_id, num_groups) * WG + local_id;
    if tile >= tiles_m * tiles_n { return; }
    let m0 = tile % tiles_m * TM;
    let n0 = tile / tiles_m * TN;
    let starts = batch_starts(group_id.z);
    var sums: array<vec4<f32>, N_SUM>;
    for (var k = 0u; k < params.k; k += 4u) {
        // rows[i] is A(m0 + i, k...), cols[kk * TN4 + j] is B(k + kk, n0 + 4 j...)
        var rows: array<vec4<f32>, TM>;
        var cols: array<vec4<f32>, TN>;
        for (var i = 0u; i < TM4; i++) { //: unroll
            for (var r = 0u; r < 4u; r++) { //: unroll
                if TRANS_A {
                    let four = a_over_m(starts.x, m0 + 4u * i, k + r);
                    rows[4u * i][r] = four.x;
                    rows[4u * i + 1u][r] = four.y;
                    rows[4u * i + 2u][r] = four.z;
                    rows[4u * i + 3u][r] = four.w;
                } else {
                    rows[4u * i + r] = a_over_k(starts.x, m0 + 4u * i + r, k);
                }
            }
        }
        for (var j = 0u; j < TN4; j++) { //: unroll
            for (var r = 0u; r < 4u; r++) { //: unroll
                if TRANS_B {
                    let four = b_over_k(starts.y, k, n0 + 4u * j + r);
                    cols[j][r] = four.x;
                    cols[TN4 + j][r] = four.y;
                    cols[2u * TN4 + j][r] = four.z;
                    cols[3u * TN4 + j][r] = four.w;
                } else {
                    cols[r * TN4 + j] = b_over_n(starts.y, k + r, n0 + 4u * j);
                }
            }
        }
        // four products before a sum is written back: values carried through a loop are costly if lanes are masked
        for (var i = 0u; i < TM4; i++) { //: unroll
            for (var r = 0u; r < 4u; r++) { //: unroll
                let row = rows[4u * i + r];
                for (var j = 0u; j < TN4; j++) { //: unroll
                    sums[(4u * i + r) * TN4 + j] = sums[(4u * i + r) * TN4 + j] + row.x * cols[j]
                        + row.y * cols[TN4 + j] + row.z * cols[2u * TN4 + j] + row.w * cols[3u * TN4 + j];
                }
            }
        }
    }
    for (var i = 0u; i < TM4; i++) { //: unroll
        for (var r = 0u; r < 4u; r++) { //: unroll
            for (var j = 0u; j < TN4; j++) { //: unroll
                store(starts.z, m0 + 4u * i + r, n0 + 4u * j, sums[(4u * i + r) * TN4 + j]);
            }
        }
    }
}
