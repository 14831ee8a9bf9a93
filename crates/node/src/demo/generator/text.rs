//! Writes compact JSON in the order in which it is built, with number literals as given.

/// A JSON value under construction.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// A string.
    Text(String),
    /// A number, `true` or `false`, as it is to stand in the text.
    Literal(String),
    /// An array.
    List(Vec<Node>),
    /// An object, in the order of its members.
    Object(Vec<(&'static str, Node)>),
}

pub(super) fn text(value: impl Into<String>) -> Node {
    Node::Text(value.into())
}

pub(super) fn literal(value: impl ToString) -> Node {
    Node::Literal(value.to_string())
}

pub(super) fn list<const N: usize>(items: [Node; N]) -> Node {
    Node::List(items.into())
}

pub(super) fn object<const N: usize>(members: [(&'static str, Node); N]) -> Node {
    Node::Object(members.into())
}

impl Node {
    /// The object with one more member at its end.
    pub(super) fn with(mut self, key: &'static str, value: Node) -> Node {
        if let Node::Object(members) = &mut self {
            members.push((key, value));
        }
        self
    }

    /// As `with`, where there is something to add.
    pub(super) fn with_some(self, key: &'static str, value: Option<Node>) -> Node {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// Compact JSON.
    pub(super) fn to_json(&self) -> String {
        let mut out = String::with_capacity(1_024);
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        match self {
            Node::Text(value) => write_string(out, value),
            Node::Literal(value) => out.push_str(value),
            Node::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Node::Object(members) => {
                out.push('{');
                for (index, (key, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write_string(out, key);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// Names and phrases hold no control characters, so quotes and backslashes are all there is.
fn write_string(out: &mut String, value: &str) {
    out.push('"');
    for character in value.chars() {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
}
