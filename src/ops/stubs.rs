#![allow(missing_docs)]
use super::*;
macro_rules! stub { ($($n:ident { $($f:ident : $t:ty),* }),*) => { $(
#[derive(Debug, Clone, Copy)] pub struct $n { $(pub $f: $t),* }
impl Op for $n { fn name(&self)->&'static str {"x"} fn outputs(&self,_:&[&TensorSpec])->Result<Vec<OutSpec>,ShapeError>{todo!()} fn lower(&self,_:&Io<'_>,_:&LowerCtx<'_>)->Vec<Dispatch>{todo!()} fn reference(&self,_:&[&[f64]],_:&[Shape])->Vec<Vec<f64>>{todo!()} fn cost(&self,_:&Io<'_>)->Cost{todo!()} }
)* } }
stub!(Dropout{p:f32,site:u32}, Attention{n_head:u64,p:f32,site:u32});
