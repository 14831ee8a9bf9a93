//! What the days of a world are like: how much is written, how often sites talk, what goes wrong.

use crate::op::Weather;

/// The profiles, mildest first.
pub const PROFILES: &[Profile] = &[CALM, SLOW, POWER_CUTS, CHAOS];

/// How often things happen. Counts are for one site and one day, in hundredths.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Profile {
    pub name: &'static str,
    pub days: (u64, u64),
    pub sites: (u64, u64),
    pub writes: u64,
    pub rounds: u64,
    pub serves: u64,
    pub operators: u64,
    pub outages: u64,
    pub crashes: u64,
    pub restores: u64,
    pub clocks: u64,
    pub probes: u64,
    pub decisions: u64,
    pub merges: u64,
    pub bulky: u64,
    /// Of a thousand sites, how many have third parties carry their changes.
    pub carriers: u32,
    /// Of a thousand sites, how many are read by their parents instead of sending.
    pub readers: u32,
    pub visits: u64,
    /// Of a thousand sites, how many are beside a record system.
    pub emrs: u32,
    pub emr_writes: u64,
    pub emr_looks: u64,
    pub emr_troubles: u64,
    pub weather: Weather,
}

const CALM: Profile = Profile {
    name: "calm",
    days: (10, 14),
    sites: (3, 6),
    writes: 400,
    rounds: 300,
    serves: 0,
    operators: 10,
    outages: 5,
    crashes: 0,
    restores: 0,
    clocks: 5,
    probes: 5,
    decisions: 40,
    merges: 10,
    bulky: 5,
    carriers: 200,
    readers: 250,
    visits: 20,
    emrs: 200,
    emr_writes: 200,
    emr_looks: 300,
    emr_troubles: 10,
    weather: Weather { delay: 200, loss: 0, cut: 0, twice: 0, half_open: 0, rate: 0 },
};

const SLOW: Profile = Profile {
    name: "2g",
    days: (8, 12),
    sites: (2, 5),
    writes: 500,
    rounds: 600,
    serves: 10,
    operators: 20,
    outages: 30,
    crashes: 0,
    restores: 0,
    clocks: 10,
    probes: 5,
    decisions: 60,
    merges: 15,
    bulky: 10,
    carriers: 200,
    readers: 250,
    visits: 20,
    emrs: 200,
    emr_writes: 250,
    emr_looks: 500,
    emr_troubles: 40,
    weather: Weather { delay: 4_000, loss: 80, cut: 120, twice: 30, half_open: 20, rate: 1_500 },
};

const POWER_CUTS: Profile = Profile {
    name: "power-cuts",
    days: (6, 10),
    sites: (2, 5),
    writes: 600,
    rounds: 500,
    serves: 10,
    operators: 20,
    outages: 10,
    crashes: 150,
    restores: 8,
    clocks: 20,
    probes: 5,
    decisions: 60,
    merges: 15,
    bulky: 10,
    carriers: 200,
    readers: 250,
    visits: 20,
    emrs: 200,
    emr_writes: 300,
    emr_looks: 500,
    emr_troubles: 60,
    weather: Weather { delay: 500, loss: 10, cut: 10, twice: 5, half_open: 5, rate: 0 },
};

const CHAOS: Profile = Profile {
    name: "chaos",
    days: (4, 8),
    sites: (2, 8),
    writes: 1_000,
    rounds: 900,
    serves: 20,
    operators: 100,
    outages: 60,
    crashes: 120,
    restores: 20,
    clocks: 60,
    probes: 30,
    decisions: 150,
    merges: 40,
    bulky: 20,
    carriers: 200,
    readers: 250,
    visits: 50,
    emrs: 250,
    emr_writes: 500,
    emr_looks: 800,
    emr_troubles: 200,
    weather: Weather { delay: 3_000, loss: 60, cut: 120, twice: 60, half_open: 30, rate: 4_000 },
};

impl Profile {
    /// The profile of this name.
    pub fn named(name: &str) -> Option<&'static Profile> {
        PROFILES.iter().find(|profile| profile.name == name)
    }
}
