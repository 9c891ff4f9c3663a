//! Writes an ONNX graph: the few protobuf messages that a transformer needs, with the weights
//! left where they are (external data). Field numbers are those of ONNX's `onnx.proto3`.
//! It knows nothing of models and never reads a file.

/// The element types that occur; the values are `TensorProto.DataType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    Float = 1,
    Int64 = 7,
}

/// One dimension of a graph's input or output.
#[derive(Debug, Clone, Copy)]
pub enum Dimension<'a> {
    Fixed(usize),
    Named(&'a str),
}

/// An attribute of an operator: its name and value.
#[derive(Debug, Clone, Copy)]
pub enum Attribute<'a> {
    Int(&'a str, i64),
    Ints(&'a str, &'a [i64]),
    Float(&'a str, f32),
    Text(&'a str, &'a str),
}

/// Where a tensor's bytes lie: little-endian, row-major, in the named external buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    pub buffer: &'static str,
    pub offset: usize,
    pub length: usize,
}

/// A graph under construction. Values are named by strings, as in ONNX.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: Vec<u8>,
    tensors: Vec<u8>,
    inputs: Vec<u8>,
    outputs: Vec<u8>,
    named: usize,
}

impl Graph {
    /// Declares an input that the caller feeds.
    pub fn input(&mut self, name: &str, element: Element, shape: &[Dimension]) {
        let info = value_info(name, element, shape);
        bytes(&mut self.inputs, 11, &info);
    }

    /// Declares `name` as a result.
    pub fn output(&mut self, name: &str, element: Element, shape: &[Dimension]) {
        let info = value_info(name, element, shape);
        bytes(&mut self.outputs, 12, &info);
    }

    /// A float tensor whose bytes lie in an external buffer; returns its name.
    pub fn weights(&mut self, shape: &[usize], place: &External) -> String {
        let name = self.fresh();
        let mut tensor = tensor(&name, Element::Float, shape);
        for (key, value) in [
            ("location", place.buffer.to_owned()),
            ("offset", place.offset.to_string()),
            ("length", place.length.to_string()),
        ] {
            let mut entry = Vec::new();
            bytes(&mut entry, 1, key.as_bytes());
            bytes(&mut entry, 2, value.as_bytes());
            bytes(&mut tensor, 13, &entry);
        }
        number(&mut tensor, 14, 1);
        bytes(&mut self.tensors, 5, &tensor);
        name
    }

    /// A vector of whole numbers kept in the graph itself; returns its name.
    pub fn integers(&mut self, values: &[i64]) -> String {
        let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.inline(Element::Int64, &[values.len()], &raw)
    }

    /// One number without dimensions kept in the graph itself; returns its name.
    pub fn scalar(&mut self, value: f32) -> String {
        self.inline(Element::Float, &[], &value.to_le_bytes())
    }

    /// One whole number without dimensions kept in the graph itself; returns its name.
    pub fn index(&mut self, value: i64) -> String {
        self.inline(Element::Int64, &[], &value.to_le_bytes())
    }

    /// Adds an operator with one result; returns that result's name.
    pub fn op(&mut self, operator: &str, inputs: &[&str], attributes: &[Attribute]) -> String {
        let name = self.fresh();
        self.op_named(&name, operator, inputs, attributes);
        name
    }

    /// As [`Graph::op`], with a name for the result chosen by the caller.
    pub fn op_named(&mut self, name: &str, operator: &str, inputs: &[&str], attributes: &[Attribute]) {
        let mut node = Vec::new();
        for input in inputs {
            bytes(&mut node, 1, input.as_bytes());
        }
        bytes(&mut node, 2, name.as_bytes());
        bytes(&mut node, 4, operator.as_bytes());
        for attribute in attributes {
            bytes(&mut node, 5, &attribute_message(attribute));
        }
        bytes(&mut self.nodes, 1, &node);
    }

    /// The finished `ModelProto` for the given version of the operator set.
    pub fn finish(self, operator_set: u64) -> Vec<u8> {
        let mut graph = self.nodes;
        bytes(&mut graph, 2, b"autovector");
        graph.extend_from_slice(&self.tensors);
        graph.extend_from_slice(&self.inputs);
        graph.extend_from_slice(&self.outputs);
        let mut imported = Vec::new();
        number(&mut imported, 2, operator_set);
        let mut model = Vec::with_capacity(graph.len() + 64);
        number(&mut model, 1, 9);
        bytes(&mut model, 2, b"autovector");
        bytes(&mut model, 7, &graph);
        bytes(&mut model, 8, &imported);
        model
    }

    fn inline(&mut self, element: Element, shape: &[usize], raw: &[u8]) -> String {
        let name = self.fresh();
        let mut tensor = tensor(&name, element, shape);
        bytes(&mut tensor, 9, raw);
        bytes(&mut self.tensors, 5, &tensor);
        name
    }

    fn fresh(&mut self) -> String {
        self.named += 1;
        format!("v{}", self.named)
    }
}

fn value_info(name: &str, element: Element, shape: &[Dimension]) -> Vec<u8> {
    let mut dimensions = Vec::new();
    for dimension in shape {
        let mut message = Vec::new();
        match dimension {
            Dimension::Fixed(size) => number(&mut message, 1, *size as u64),
            Dimension::Named(name) => bytes(&mut message, 2, name.as_bytes()),
        }
        bytes(&mut dimensions, 1, &message);
    }
    let mut tensor_type = Vec::new();
    number(&mut tensor_type, 1, element as u64);
    bytes(&mut tensor_type, 2, &dimensions);
    let mut value_type = Vec::new();
    bytes(&mut value_type, 1, &tensor_type);
    let mut info = Vec::new();
    bytes(&mut info, 1, name.as_bytes());
    bytes(&mut info, 2, &value_type);
    info
}

fn tensor(name: &str, element: Element, shape: &[usize]) -> Vec<u8> {
    let mut message = Vec::new();
    for size in shape {
        number(&mut message, 1, *size as u64);
    }
    number(&mut message, 2, element as u64);
    bytes(&mut message, 8, name.as_bytes());
    message
}

fn attribute_message(attribute: &Attribute) -> Vec<u8> {
    let mut message = Vec::new();
    match attribute {
        Attribute::Int(name, value) => {
            bytes(&mut message, 1, name.as_bytes());
            // A negative int64 is written as its two's complement, ten bytes long.
            number(&mut message, 3, *value as u64);
            number(&mut message, 20, 2);
        }
        Attribute::Ints(name, values) => {
            bytes(&mut message, 1, name.as_bytes());
            for value in *values {
                number(&mut message, 8, *value as u64);
            }
            number(&mut message, 20, 7);
        }
        Attribute::Float(name, value) => {
            bytes(&mut message, 1, name.as_bytes());
            varint(&mut message, 2 << 3 | 5);
            message.extend_from_slice(&value.to_le_bytes());
            number(&mut message, 20, 1);
        }
        Attribute::Text(name, value) => {
            bytes(&mut message, 1, name.as_bytes());
            bytes(&mut message, 4, value.as_bytes());
            number(&mut message, 20, 3);
        }
    }
    message
}

/// A field of wire type 0.
fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

/// A field of wire type 2: bytes, a string or a message.
fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the Protocol Buffers encoding guide: 150 is `96 01`, field 2 "testing".
    #[test]
    fn writes_the_wire_format_of_protocol_buffers() {
        let mut out = Vec::new();
        number(&mut out, 1, 150);
        bytes(&mut out, 2, b"testing");
        assert_eq!(out, [0x08, 0x96, 0x01, 0x12, 0x07, b't', b'e', b's', b't', b'i', b'n', b'g']);
    }

    #[test]
    fn a_negative_integer_takes_ten_bytes() {
        let mut out = Vec::new();
        number(&mut out, 1, -1i64 as u64);
        assert_eq!(out, [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    }
}
