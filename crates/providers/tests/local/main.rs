//! Local models, against vectors that other implementations computed (`tests/data`) and against
//! sums made by hand. The fears: a wrong vector that nobody notices, a vector that depends on
//! its neighbours, a damaged file that takes the server down.

mod damaged;
mod families;
mod minilm;
mod names;
mod onnx_files;
mod static_models;
mod support;
mod threads;
