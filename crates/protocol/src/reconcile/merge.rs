//! The merge of one record by elements. It knows base, parent and child, never "local", so that
//! it comes to the same bytes on both sides.

use super::contest::{Contest, Contested, EDITS_STAY};
use super::identity::{self, Group};
use super::node::Node;
use super::rules::IDENTIFIERS_STAY;
use super::units::{self, Member, Unit};
use super::{Side, order, path, whole};
use crate::json::{Json, Object, Text};

/// A value in one state, where it is there.
pub(super) type Value<'t> = Option<&'t Json<'t>>;

/// How deep values are merged part by part; what lies deeper is merged as a whole.
const DEPTH: usize = 48;

/// The three states of something.
#[derive(Clone, Copy)]
pub(super) struct Three<T> {
    pub(super) base: T,
    pub(super) parent: T,
    pub(super) child: T,
}

/// What became of something since base.
pub(super) enum Moved {
    /// The parent's state stands: it alone moved, or both came to the same.
    Parent,
    /// The child alone moved.
    Child,
    /// Both moved, to different states.
    Both,
}

impl<T: PartialEq> Three<T> {
    pub(super) fn moved(&self) -> Moved {
        if self.parent == self.child || self.base == self.child {
            Moved::Parent
        } else if self.base == self.parent {
            Moved::Child
        } else {
            Moved::Both
        }
    }
    pub(super) fn differ(&self) -> bool {
        self.base != self.parent || self.base != self.child
    }
}

impl<T> Three<T> {
    /// 0 is base, 1 the parent, 2 the child.
    pub(super) fn slot(&mut self, slot: usize) -> &mut T {
        match slot {
            0 => &mut self.base,
            1 => &mut self.parent,
            _ => &mut self.child,
        }
    }
    fn by_ref(&self) -> Three<&T> {
        Three { base: &self.base, parent: &self.parent, child: &self.child }
    }
    pub(super) fn map<U>(self, change: impl Fn(T) -> U) -> Three<U> {
        Three { base: change(self.base), parent: change(self.parent), child: change(self.child) }
    }
}

/// One merge under way.
pub(super) struct Merge<'p> {
    contest: Contest<'p>,
    /// Where we are.
    path: String,
    depth: usize,
}

impl<'p> Merge<'p> {
    pub(super) fn new(contest: Contest<'p>) -> Self {
        Merge { contest, path: String::new(), depth: 0 }
    }
    /// The elements that both sides changed to different values, sorted.
    pub(super) fn into_contested(self) -> Vec<Contested> {
        self.contest.into_contested()
    }
    /// Merges a resource. `base` is `None` where no common version is known.
    pub(super) fn resource<'t>(
        &mut self,
        base: Option<&'t Object<'t>>,
        parent: &'t Object<'t>,
        child: &'t Object<'t>,
    ) -> Node<'t> {
        self.object("", Three { base, parent: Some(parent), child: Some(child) })
    }

    /// Does `work` with the path one step further.
    fn within<T>(&mut self, step: &str, work: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        self.path.push_str(step);
        let done = work(self);
        self.path.truncate(length);
        done
    }

    /// Merges one element, or one item of a list. `name` is the element's.
    fn element<'t>(&mut self, name: &str, states: Three<Value<'t>>) -> Option<Node<'t>> {
        match states.moved() {
            Moved::Parent => self.moved_by_one(name, states, states.parent),
            Moved::Child => self.moved_by_one(name, states, states.child),
            Moved::Both => self.moved_by_both(name, states),
        }
    }

    /// What one side did stands, unless a rule keeps items that it took away.
    fn moved_by_one<'t>(
        &mut self,
        name: &str,
        states: Three<Value<'t>>,
        moved: Value<'t>,
    ) -> Option<Node<'t>> {
        let is_kept = states.differ() && self.contest.keeps_items_within(&self.path);
        let merged = if is_kept { self.inner(name, states) } else { None };
        let is_empty = |node: &Node<'_>| matches!(node, Node::Array(items) if items.is_empty());
        merged.filter(|node| !is_empty(node)).or(moved.map(Node::Same))
    }

    /// Merges what is in an element, where that can be merged; `None` is a whole.
    fn inner<'t>(&mut self, name: &str, states: Three<Value<'t>>) -> Option<Node<'t>> {
        if self.depth >= DEPTH {
            return None;
        }
        self.depth += 1;
        let merged = self.parts(name, states).or_else(|| self.items(name, states));
        self.depth -= 1;
        merged
    }

    fn moved_by_both<'t>(&mut self, name: &str, states: Three<Value<'t>>) -> Option<Node<'t>> {
        if is_derived(name, &self.path, &states) {
            let preferred = match self.contest.preferred(&self.path) {
                Side::Parent => states.parent.or(states.child),
                Side::Child => states.child.or(states.parent),
            };
            return preferred.map(Node::Same);
        }
        if let Some(merged) = self.inner(name, states) {
            // A list whose items are all gone is gone: FHIR knows no empty lists.
            return Some(merged).filter(|node| !matches!(node, Node::Array(i) if i.is_empty()));
        }
        self.contest.decide(&self.path, states, Option::is_none, None).map(Node::Same)
    }

    /// Merges two objects key by key, unless they are a whole, or nothing would be left of them.
    fn parts<'t>(&mut self, name: &str, states: Three<Value<'t>>) -> Option<Node<'t>> {
        let states = states.map(|state| state.and_then(Json::as_object));
        let all = [states.base, states.parent, states.child];
        if states.parent.is_none() || states.child.is_none() {
            return None;
        }
        let is_concept = all.iter().flatten().any(|object| whole::is_concept(object));
        let by_key = match is_concept {
            true => whole::is_one_concept(all),
            false => !whole::object(name, all),
        };
        let merged = by_key.then(|| self.object(name, states));
        merged.filter(|node| !matches!(node, Node::Object(members) if members.is_empty()))
    }

    fn object<'t>(&mut self, name: &str, states: Three<Option<&'t Object<'t>>>) -> Node<'t> {
        let members = units::members(states);
        let within = units::within(name, states);
        let mut merged = Vec::with_capacity(members.len());
        let units = units::units(&within, &members);
        for (place, member) in members.iter().enumerate() {
            match units.of.get(&place).map(|&unit| &units.all[unit]) {
                None => self.member(member, &members, &mut merged),
                Some(unit) if unit.members[0] == place => {
                    self.together(unit, &members, &mut merged);
                }
                Some(_) => {}
            }
        }
        Node::Object(merged)
    }

    /// Merges one member.
    fn member<'t>(
        &mut self,
        member: &Member<'t>,
        members: &[Member<'t>],
        merged: &mut Vec<(&'t Text<'t>, Node<'t>)>,
    ) {
        let Member { name, states, .. } = member;
        let node = if !states.differ() {
            states.parent.map(Node::Same)
        } else {
            let step = path::step(&self.path, name);
            let ruled = self.ruled(name, members, *states);
            self.within(&step, |merge| match ruled {
                Some((side, rule)) => {
                    merge.contest.overrule(&merge.path, *states, side, rule).map(Node::Same)
                }
                None => merge.element(name, *states),
            })
        };
        merged.extend(node.map(|node| (member.key, node)));
    }

    /// The side that a clinical rule lets win, where that is another one than moved.
    fn ruled<T: PartialEq>(
        &self,
        name: &str,
        members: &[Member<'_>],
        states: Three<T>,
    ) -> Option<(Side, &'static str)> {
        if self.depth > 0 || states.parent == states.child {
            return None;
        }
        let (side, rule) = self.contest.ruled(name, members)?;
        let agrees = match states.moved() {
            Moved::Parent => side == Side::Parent,
            Moved::Child => side == Side::Child,
            Moved::Both => false,
        };
        (!agrees).then_some((side, rule))
    }

    /// Takes all members of an element from one side.
    fn together<'t>(
        &mut self,
        unit: &Unit,
        members: &[Member<'t>],
        merged: &mut Vec<(&'t Text<'t>, Node<'t>)>,
    ) {
        let values = |side: fn(&Three<Value<'t>>) -> Value<'t>| -> Vec<Value<'t>> {
            unit.members.iter().map(|&place| side(&members[place].states)).collect()
        };
        let states = Three {
            base: values(|states| states.base),
            parent: values(|states| states.parent),
            child: values(|states| states.child),
        };
        let step = path::step(&self.path, &unit.name);
        let is_gone = |values: &Vec<Value<'_>>| values.iter().all(Option::is_none);
        let ruled = self.ruled(&unit.name, members, states.by_ref());
        let taken = match (ruled, states.moved()) {
            (Some((side, rule)), _) => {
                self.within(&step, |merge| merge.contest.overrule(&merge.path, states, side, rule))
            }
            (None, Moved::Parent) => states.parent,
            (None, Moved::Child) => states.child,
            (None, Moved::Both) => self.within(&step, |merge| {
                merge.contest.decide(&merge.path, states, is_gone, unit.rule)
            }),
        };
        for (&place, value) in unit.members.iter().zip(taken) {
            merged.extend(value.map(|value| (members[place].key, Node::Same(value))));
        }
    }

    /// Merges two lists of objects item by item, unless they are a whole. To take a list away is
    /// to take away each of its items.
    fn items<'t>(&mut self, name: &str, states: Three<Value<'t>>) -> Option<Node<'t>> {
        let lists = states.map(|state| state.map_or(Some(&[][..]), Json::as_array));
        let (Some(parent), Some(child)) = (lists.parent, lists.child) else { return None };
        let lists = Three { base: lists.base.unwrap_or(&[]), parent, child };
        let union = self.contest.is_union(&self.path);
        let is_whole = whole::list(name, [lists.base, lists.parent, lists.child]);
        (!is_whole || union).then(|| self.list(name, lists, union))
    }

    fn list<'t>(&mut self, name: &str, lists: Three<&'t [Json<'t>]>, union: bool) -> Node<'t> {
        let groups = identity::groups(name, lists);
        let kept_by = self.contest.keeps_items_of(&self.path);
        let rule = kept_by.or((name == "identifier").then_some(IDENTIFIERS_STAY));
        if !union && replaced_by_both(&groups) {
            // Both replaced an item, each by another: both stay, and somebody should look.
            match self.contest.both_stand(&self.path, rule.unwrap_or(EDITS_STAY)) {
                Some(Side::Parent) => return as_it_is(lists.parent),
                Some(Side::Child) => return as_it_is(lists.child),
                None => {}
            }
        }
        let preferred = self.contest.preferred(&self.path);
        let order = order::order(&groups, lists, preferred, kept_by.is_some());
        let is_named = self.contest.keeps_items_within(&self.path);
        let mut labels = None;
        let mut merged = Vec::with_capacity(order.len());
        for (index, &place) in order.iter().enumerate() {
            let states = groups[place].states(lists);
            let has = gone_from(states);
            let node = match (has, states.moved()) {
                (Some(_), Moved::Both) if union => states.parent.or(states.child).map(Node::Same),
                (_, Moved::Parent | Moved::Child) if !is_named => self.element(name, states),
                (has, _) => {
                    let labels = labels
                        .get_or_insert_with(|| identity::labels(name, &groups, &order, lists));
                    let step = format!("[{}]", labels[index]);
                    self.within(&step, |merge| merge.item(name, states, has, rule))
                }
            };
            merged.extend(node);
        }
        Node::Array(merged)
    }

    /// Merges one item of a list. `has` is the side that still has it where the other has not,
    /// `rule` the one by which it stays then, whoever moved.
    fn item<'t>(
        &mut self,
        name: &str,
        states: Three<Value<'t>>,
        has: Option<Side>,
        rule: Option<&'static str>,
    ) -> Option<Node<'t>> {
        match (has, states.moved(), rule) {
            (Some(_), Moved::Both, rule) => {
                self.contest.decide(&self.path, states, Option::is_none, rule).map(Node::Same)
            }
            (Some(has), _, Some(rule)) if states.base.is_some() => {
                self.contest.overrule(&self.path, states, has, rule).map(Node::Same)
            }
            _ => self.element(name, states),
        }
    }
}

/// The side that still has what the other has not; `None` where both have it, or neither.
fn gone_from(states: Three<Value<'_>>) -> Option<Side> {
    match (states.parent, states.child) {
        (Some(_), None) => Some(Side::Parent),
        (None, Some(_)) => Some(Side::Child),
        _ => None,
    }
}

fn as_it_is<'t>(list: &'t [Json<'t>]) -> Node<'t> {
    Node::Array(list.iter().map(Node::Same).collect())
}

/// Whether an item of base is gone from both sides while each put one in that the other has not.
fn replaced_by_both(groups: &[Group]) -> bool {
    let any =
        |slots: [bool; 3]| groups.iter().any(|group| group.slots.map(|s| s.is_some()) == slots);
    any([true, false, false]) && any([false, true, false]) && any([false, false, true])
}

/// What programs make from the rest of the record: no conflict is worth a person's time. The
/// narrative where it is `generated` and nothing else, and `meta.source`, which servers set at
/// each write.
fn is_derived(name: &str, path: &str, states: &Three<Value<'_>>) -> bool {
    let generated = |state: Value<'_>| {
        let Some(text) = state else { return true };
        let status = text.str_at("status");
        status.as_deref() == Some("generated")
            && text.as_object().is_some_and(|text| {
                text.iter().all(|(key, _)| key == "status" || key == "div" || key == "id")
            })
    };
    path == "meta.source" || name == "text" && generated(states.parent) && generated(states.child)
}
