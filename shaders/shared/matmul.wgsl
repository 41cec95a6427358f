// The parts shared by the matmul kernels: modes, params, which the importing file binds, and where each matrix of a
// batch begins.
const TRANS_A: bool = false;  //: mode false true
const TRANS_B: bool = false;  //: mode false true
const ADD: bool = false;      //: mode false true
const BIAS: bool = false;     //: mode false true

struct Params {
    m: u32,
    n: u32,
    k: u32,
    n_inner: u32,
    a_start: u32,
    a_ld: u32,
    a_outer: u32,
    a_inner: u32,
    b_start: u32,
    b_ld: u32,
    b_outer: u32,
    b_inner: u32,
    out_start: u32,
    out_ld: u32,
    out_outer: u32,
    out_inner: u32,
    bias_start: u32,
}

// The first elements of A, B and out for a batch index.
fn batch_starts(batch: u32) -> vec3<u32> {
    let outer = batch / params.n_inner;
    let inner = batch % params.n_inner;
    return vec3<u32>(
        params.a_start + outer * params.a_outer + inner * params.a_inner,
        params.b_start + outer * params.b_outer + inner * params.b_inner,
        params.out_start + outer * params.out_outer + inner * params.out_inner,
    );
}
