//! A world drawn from a seed: its sites and everything that will happen to them.

use crate::chance::SeededEntropy;
use crate::op::{EmrHead, EmrOp, Head, Holds, Op, Plan, SiteHead, Step};
use crate::profile::Profile;

const DAY: u64 = 86_400_000;
const MINUTE: u64 = 60_000;
/// What a site takes that takes little: less than a record of `Op::Bulky`.
const STRICT_BYTES: usize = 6_000;

/// The world of a seed.
pub fn draw(seed: u64, profile: &Profile) -> Plan {
    let chance = SeededEntropy::new(seed, profile.name);
    let mut head = head(seed, profile, &chance);
    let strict = SeededEntropy::new(seed, &format!("{} limits", profile.name));
    for site in &mut head.sites {
        let is_strict = profile.bulky > 0 && strict.permille(150);
        site.resource_bytes = is_strict.then_some(STRICT_BYTES);
    }
    let carriers = SeededEntropy::new(seed, &format!("{} carriers", profile.name));
    for site in &mut head.sites {
        site.carried = site.parent.is_some() && carriers.permille(profile.carriers);
    }
    let readers = SeededEntropy::new(seed, &format!("{} readers", profile.name));
    for site in &mut head.sites {
        let is_read = site.parent.is_some() && readers.permille(profile.readers);
        site.read = is_read && !site.carried;
    }
    let beside = SeededEntropy::new(seed, &format!("{} record systems", profile.name));
    for site in &mut head.sites {
        site.emr = beside.permille(profile.emrs).then(|| record_system(profile, &beside));
    }
    let mut steps = Vec::new();
    for site in 0..head.sites.len() {
        let children = (0..head.sites.len()).filter(|one| head.sites[*one].parent == Some(site));
        let children = children.collect();
        let days = head.days;
        let chance = &chance;
        Drawing { chance, profile, days, site, children, steps: &mut steps }.draw();
        // What people do has a chance of its own: without it the world is the same otherwise.
        let chance = &SeededEntropy::new(seed, &format!("{} people {site}", profile.name));
        let children = Vec::new();
        Drawing { chance, profile, days, site, children, steps: &mut steps }.draw_people();
        if head.sites[site].emr.is_some() {
            let chance = &SeededEntropy::new(seed, &format!("{} emr {site}", profile.name));
            let children = Vec::new();
            Drawing { chance, profile, days, site, children, steps: &mut steps }.draw_emr();
        }
    }
    steps.sort_by_key(|step| step.at);
    Plan { head, steps }
}

fn head(seed: u64, profile: &Profile, chance: &SeededEntropy) -> Head {
    let (low, high) = profile.sites;
    // Now and then a world is large.
    let high = if chance.permille(20) { 20 } else { high };
    let count = usize::try_from(chance.between(low, high)).unwrap_or(2);
    let days = chance.between(profile.days.0, profile.days.1);
    let days = if count > 8 { 2 } else { days };
    let old = chance.permille(60);
    let mut sites: Vec<SiteHead> = Vec::new();
    for index in 0..count {
        let parent = parent_of(&sites, index, chance);
        sites.push(site(profile, chance, parent, old && index < 2));
    }
    Head { seed, profile: profile.name.to_owned(), days, sites }
}

/// Up to three tiers: whoever is a child of the top may have children.
fn parent_of(sites: &[SiteHead], index: usize, chance: &SeededEntropy) -> Option<usize> {
    if index == 0 {
        return None;
    }
    let second = (1..index).filter(|other| sites[*other].parent == Some(0));
    let second = second.collect::<Vec<_>>();
    if second.is_empty() || chance.permille(550) {
        return Some(0);
    }
    Some(second[chance.place(second.len())])
}

fn site(profile: &Profile, chance: &SeededEntropy, parent: Option<usize>, old: bool) -> SiteHead {
    let leave = ["keep", "freeze", "purge"][chance.place(3)];
    let cohort = match chance.below(10) {
        0..=2 => "all",
        3..=6 => "places",
        7 => "address",
        8 => "listed",
        _ => "group",
    };
    let wrong = chance.permille(if profile.clocks > 0 { 300 } else { 0 });
    let clock = if wrong { skew(chance) } else { 0 };
    let line_bytes = chance.permille(100).then_some(3_000);
    SiteHead {
        parent,
        leave: leave.to_owned(),
        cohort: cohort.to_owned(),
        clock,
        line_bytes,
        resource_bytes: None,
        carried: false,
        read: false,
        old,
        emr: None,
        weather: profile.weather,
    }
}

fn record_system(profile: &Profile, chance: &SeededEntropy) -> EmrHead {
    let holds = match chance.below(10) {
        0..=2 => Holds::All,
        3..=7 => Holds::Part,
        _ => Holds::LikeOpenmrs,
    };
    let lists = chance.permille(400);
    // It stands in the same house: its link is better than that to the parent.
    let (delay, loss) = (profile.weather.delay, profile.weather.loss / 4);
    EmrHead { holds, lists, delay, loss }
}

/// From seconds to years, both ways.
fn skew(chance: &SeededEntropy) -> i64 {
    let size = [5_000, 600_000, 36_000_000, 100_000_000_000][chance.place(4)];
    let ahead = chance.below(size).cast_signed();
    if chance.permille(500) { ahead } else { -ahead }
}

struct Drawing<'a> {
    chance: &'a SeededEntropy,
    profile: &'a Profile,
    days: u64,
    site: usize,
    children: Vec<usize>,
    steps: &'a mut Vec<Step>,
}

impl Drawing<'_> {
    fn draw(&mut self) {
        let profile = self.profile;
        self.several(profile.writes, Drawing::write);
        self.several(profile.operators, Drawing::operator);
        self.several(profile.clocks, |this| Op::Clock { ahead: skew(this.chance) });
        self.several(profile.restores * 2, |_| Op::Backup);
        self.several(profile.restores, |_| Op::Restore);
        self.several(profile.crashes, Drawing::crash);
        if self.site > 0 {
            self.several(profile.rounds, |_| Op::Round);
            self.several(profile.serves, |this| Op::Serve { minutes: this.chance.between(1, 8) });
            self.several(profile.probes, |_| Op::Probe);
            self.several(profile.outages, |this| Op::Outage {
                minutes: this.chance.between(1, 1_500),
                one_way: this.chance.permille(300),
            });
        }
    }

    fn draw_people(&mut self) {
        let profile = self.profile;
        self.several(profile.decisions, |this| match this.chance.below(10) {
            0..=5 => Op::Resolve,
            6 | 7 => Op::Confirm,
            _ => Op::Reopen,
        });
        self.several(profile.bulky, |_| Op::Bulky);
        self.several(profile.merges, |this| {
            if this.chance.permille(600) { Op::Merge } else { Op::Unmerge }
        });
        if self.site > 0 {
            self.several(profile.visits, |this| {
                let days = this.chance.between(1, 3);
                Op::Visit { days: u32::try_from(days).unwrap_or(1) }
            });
        }
    }

    fn draw_emr(&mut self) {
        let profile = self.profile;
        self.several(profile.emr_writes, |this| Op::Emr { does: this.emr_write() });
        self.several(profile.emr_looks, |_| Op::Emr { does: EmrOp::Look });
        self.several(profile.emr_troubles, |this| Op::Emr { does: this.emr_trouble() });
    }

    fn emr_write(&mut self) -> EmrOp {
        match self.chance.below(100) {
            0..=14 => EmrOp::Register,
            15..=34 => EmrOp::Make,
            35..=84 => EmrOp::Edit,
            85..=89 => EmrOp::Delete,
            90..=92 => EmrOp::Undelete,
            93..=95 => EmrOp::Transfer,
            _ => EmrOp::Refer,
        }
    }

    fn emr_trouble(&mut self) -> EmrOp {
        match self.chance.below(10) {
            0..=2 => EmrOp::Away { minutes: self.chance.between(1, 3_000) },
            3 => EmrOp::Purge,
            4 | 5 => EmrOp::Lose { answers: self.chance.between(1, 4) },
            6 => EmrOp::Refuse { minutes: self.chance.between(1, 1_500) },
            7 | 8 => EmrOp::Fail { minutes: self.chance.between(1, 1_500) },
            _ => EmrOp::Retry,
        }
    }

    /// Steps of one kind: so many hundredths a day.
    fn several(&mut self, hundredths: u64, op: impl Fn(&mut Self) -> Op) {
        let wanted = hundredths * self.days;
        let count = wanted / 100 + u64::from(self.chance.below(100) < wanted % 100);
        for _ in 0..count {
            let op = op(self);
            let at = self.chance.below(self.days * DAY);
            self.push(at, op);
        }
    }

    fn push(&mut self, at: u64, op: Op) {
        self.push_at(self.site, at, op);
    }

    fn push_at(&mut self, site: usize, at: u64, op: Op) {
        let seed = self.chance.next();
        self.steps.push(Step { at, site, seed, op });
    }

    fn write(&mut self) -> Op {
        match self.chance.below(100) {
            0..=14 => Op::Register,
            15..=34 => Op::Make,
            35..=81 => Op::Edit,
            82..=85 => Op::Delete,
            86..=88 => Op::Undelete,
            89..=93 => Op::Transfer,
            94..=97 => Op::Refer,
            _ => Op::Regroup,
        }
    }

    fn operator(&mut self) -> Op {
        match self.chance.below(if self.site == 0 { 4 } else { 6 }) {
            0 => Op::Tidy,
            1 => Op::Retry,
            2 | 3 => Op::Park,
            4 => Op::Redefine,
            _ => Op::Revoke,
        }
    }

    /// A crash comes in the midst of something: a round, or a few writes at once.
    fn crash(&mut self) -> Op {
        let polls = match self.chance.below(3) {
            0 => self.chance.below(20),
            1 => self.chance.below(120),
            _ => self.chance.below(600),
        };
        let at = self.chance.below(self.days * DAY);
        let minutes = self.chance.between(1, 400);
        self.push(at, Op::Crash { polls, minutes });
        for _ in 0..self.chance.below(4) {
            let op = self.write();
            self.push(at, op);
        }
        let near = at + self.chance.below(2 * MINUTE);
        if self.site > 0 && self.chance.permille(500) {
            self.push(at, Op::Round);
            self.push(near, Op::Edit);
        }
        if !self.children.is_empty() && self.chance.permille(700) {
            let child = self.children[self.chance.place(self.children.len())];
            self.push_at(child, at, Op::Round);
        }
        Op::Tidy
    }
}
