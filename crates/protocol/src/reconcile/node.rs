//! The result of a merge, as it is put together from pieces of the three states.

use crate::json::{Json, Object, Text};

/// A piece of the result.
pub(super) enum Node<'t> {
    /// As it stands in one of the states.
    Same(&'t Json<'t>),
    /// Put together.
    Object(Vec<(&'t Text<'t>, Node<'t>)>),
    /// Put together.
    Array(Vec<Node<'t>>),
}

impl Node<'_> {
    /// Whether this says the same as `value`, and so has its digest.
    fn says(&self, value: &Json<'_>) -> bool {
        match (self, value) {
            (Node::Same(same), value) => *same == value,
            (Node::Object(_), Json::Object(object)) => self.says_object(object),
            (Node::Array(items), Json::Array(others)) => {
                items.len() == others.len() && items.iter().zip(others).all(|(i, o)| i.says(o))
            }
            _ => false,
        }
    }
    /// Whether this is an object that says the same as `object`.
    pub(super) fn says_object(&self, object: &Object<'_>) -> bool {
        let Node::Object(members) = self else { return false };
        if members.len() != object.len() {
            return false;
        }
        let in_order =
            members.iter().zip(object.iter()).all(|((key, _), (other, _))| *key == other);
        if in_order {
            return members.iter().zip(object.iter()).all(|((_, n), (_, value))| n.says(value));
        }
        let mut sorted: Vec<_> = members.iter().collect();
        sorted.sort_by(|a, b| a.0.cmp_decoded(b.0));
        sorted
            .iter()
            .zip(object.sorted())
            .all(|((key, node), (other, value))| *key == other && node.says(value))
    }
    /// Appends compact JSON.
    pub(super) fn write(&self, out: &mut String) {
        match self {
            Node::Same(value) => value.write(out),
            Node::Object(members) => {
                out.push('{');
                for (index, (key, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    key.write(out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
            Node::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
        }
    }
}
