//! The two kinds of weights that an encoder's layers have: of a linear layer and of a
//! normalisation.

use std::sync::OnceLock;

use autovector_domain::failure::Failure;
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions, PackedBMatrix};
use rten_simd::SimdOp;
use rten_tensor::NdTensorView;
use rten_vecmath::{Normalize, NormalizeOptions, Sum, SumSquareSub};

use super::{
    encoder::failed,
    weights::{Floats, Tensors},
};

/// A linear layer: `x W^T + b`.
pub struct Linear {
    /// [outputs, inputs], as it lies in the file.
    matrix: Floats,
    bias: Floats,
    inputs: usize,
    outputs: usize,
    /// The matrix in the form in which it is multiplied, made when there is much to multiply:
    /// it is private to the process, which pays for a worker, not for a session with a question.
    packed: OnceLock<PackedBMatrix<f32>>,
}

impl Linear {
    pub fn find(tensors: &Tensors, name: &str, outputs: usize, inputs: usize) -> Result<Self, Failure> {
        Ok(Linear {
            matrix: tensors.find(&format!("{name}.weight"), &[outputs, inputs])?,
            bias: tensors.find(&format!("{name}.bias"), &[outputs])?,
            inputs,
            outputs,
            packed: OnceLock::new(),
        })
    }

    /// Writes the layer's result for the rows of `x` into `output`, which is made to fit.
    /// `bulk` says that much is to be done. The result does not depend on it.
    pub fn apply(
        &self,
        products: &GemmExecutor,
        x: &[f32],
        output: &mut Vec<f32>,
        bulk: bool,
    ) -> Result<(), Failure> {
        let rows = x.len() / self.inputs;
        // The product is added to the bias: faster than the other way round.
        output.clear();
        (0..rows).for_each(|_| output.extend_from_slice(self.bias.get()));
        let matrix = NdTensorView::from_data([self.outputs, self.inputs], self.matrix.get()).transposed();
        let right = match self.packed.get() {
            Some(packed) => GemmInputB::Packed(packed),
            None if bulk => GemmInputB::Packed(self.packed.get_or_init(|| products.prepack_b(matrix))),
            None => GemmInputB::Unpacked(matrix),
        };
        let left = GemmInputA::Unpacked(NdTensorView::from_data([rows, self.inputs], x));
        let options = GemmOptions { beta: 1.0, ..GemmOptions::default() };
        products.gemm(output, left, right, options).map_err(|e| failed(&e))
    }
}

/// A normalisation of each row to mean 0 and variance 1, then scaled and shifted ("Layer
/// Normalization", arXiv 1607.06450).
pub struct Norm {
    scale: Floats,
    shift: Floats,
    epsilon: f32,
}

impl Norm {
    pub fn find(tensors: &Tensors, name: &str, width: usize, epsilon: f32) -> Result<Self, Failure> {
        let find = |end: &str| tensors.find(&format!("{name}.{end}"), &[width]);
        Ok(Norm { scale: find("weight")?, shift: find("bias")?, epsilon })
    }

    /// Adds `other` to `x` and normalises each row of the sum.
    pub fn apply(&self, x: &mut [f32], other: &[f32]) {
        let width = self.scale.get().len();
        for (x, other) in x.chunks_exact_mut(width).zip(other.chunks_exact(width)) {
            x.iter_mut().zip(other).for_each(|(x, other)| *x += other);
            self.row(x);
        }
    }

    /// Normalises each row of `x`.
    pub fn normalize(&self, x: &mut [f32]) {
        x.chunks_exact_mut(self.scale.get().len()).for_each(|row| self.row(row));
    }

    fn row(&self, row: &mut [f32]) {
        let count = row.len() as f32;
        let mean = Sum::new(row).dispatch() / count;
        let variance = SumSquareSub::new(row, mean).dispatch() / count;
        let options = NormalizeOptions {
            pre_scale_bias: mean,
            scale: 1.0 / (variance + self.epsilon).sqrt(),
            element_scale: Some(self.scale.get()),
            element_bias: Some(self.shift.get()),
            ..NormalizeOptions::default()
        };
        Normalize::new_mut(row, options).dispatch();
    }
}
