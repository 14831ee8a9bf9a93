//! Where clinics stand and patients live: country, province or region, district, villages.

use super::people::{
    BEMBA, CHEWA, GANDA, KALENJIN, KIKUYU, LUHYA, LUO, MAKHUWA, People, RWANDA, SHONA, SOTHO,
    SWAHILI, ZULU,
};

/// A district with what a record of its people needs.
#[derive(Debug)]
pub(super) struct District {
    /// Slug for a site's id.
    pub(super) slug: &'static str,
    pub(super) country: &'static str,
    pub(super) state: &'static str,
    pub(super) name: &'static str,
    /// Towns and villages; the clinic stands in the first.
    pub(super) villages: &'static [&'static str],
    /// Telephone prefix of mobile numbers.
    pub(super) dial: &'static str,
    /// Hours ahead of UTC.
    pub(super) offset_hours: i64,
    /// Of the clinic, for maps.
    pub(super) position: (&'static str, &'static str),
    /// Whose names most people here bear.
    pub(super) people: &'static People,
    /// Whose names some bear.
    pub(super) neighbours: &'static People,
}

/// Clinics stand in these, in this order, and again from the first where there are more.
#[rustfmt::skip]
pub(super) static DISTRICTS: [District; 16] = [
    District {
        slug: "kisumu", country: "Kenya", state: "Nyanza", name: "Kisumu",
        villages: &[
            "Kisumu East", "Kajulu", "Kolwa", "Manyatta", "Nyalenda", "Ahero", "Kibos", "Chiga",
            "Nyamasaria", "Kondele",
        ],
        dial: "+2547", offset_hours: 3, position: ("-0.09170", "34.76800"),
        people: &LUO, neighbours: &LUHYA,
    },
    District {
        slug: "siaya", country: "Kenya", state: "Nyanza", name: "Siaya",
        villages: &[
            "Bondo", "Ugunja", "Yala", "Usenge", "Ukwala", "Sega", "Rarieda", "Madiany",
            "Asembo Bay",
        ],
        dial: "+2547", offset_hours: 3, position: ("0.06070", "34.28810"),
        people: &LUO, neighbours: &LUHYA,
    },
    District {
        slug: "busia", country: "Kenya", state: "Western", name: "Busia",
        villages: &[
            "Port Victoria", "Matayos", "Nambale", "Butula", "Funyula", "Malaba", "Amagoro",
            "Khunyangu",
        ],
        dial: "+2547", offset_hours: 3, position: ("0.46080", "34.11150"),
        people: &LUHYA, neighbours: &LUO,
    },
    District {
        slug: "uasin-gishu", country: "Kenya", state: "Rift Valley", name: "Uasin Gishu",
        villages: &[
            "Turbo", "Burnt Forest", "Ziwa", "Moiben", "Langas", "Kapsoya", "Kesses", "Ainabkoi",
        ],
        dial: "+2547", offset_hours: 3, position: ("0.63100", "35.05420"),
        people: &KALENJIN, neighbours: &KIKUYU,
    },
    District {
        slug: "neno", country: "Malawi", state: "Southern Region", name: "Neno",
        villages: &[
            "Neno Boma", "Lisungwi", "Matope", "Luwani", "Chifunga", "Zalewa", "Ligowe",
            "Magaleta",
        ],
        dial: "+2659", offset_hours: 2, position: ("-15.39810", "34.65340"),
        people: &CHEWA, neighbours: &CHEWA,
    },
    District {
        slug: "maseru", country: "Lesotho", state: "Maseru", name: "Maseru",
        villages: &[
            "Roma", "Mazenod", "Morija", "Semonkong", "Nazareth", "Matsieng", "Ha Thetsane",
            "Thaba-Bosiu",
        ],
        dial: "+2665", offset_hours: 2, position: ("-29.45000", "27.71670"),
        people: &SOTHO, neighbours: &ZULU,
    },
    District {
        slug: "lilongwe", country: "Malawi", state: "Central Region", name: "Lilongwe",
        villages: &[
            "Area 25", "Kawale", "Mitundu", "Nathenje", "Bwaila", "Chitedze", "Kabudula",
            "Lumbadzi",
        ],
        dial: "+2659", offset_hours: 2, position: ("-13.88900", "33.77580"),
        people: &CHEWA, neighbours: &BEMBA,
    },
    District {
        slug: "chipata", country: "Zambia", state: "Eastern Province", name: "Chipata",
        villages: &["Kapata", "Chipangali", "Jumbe", "Kasenengwa", "Muzeyi", "Mshawa", "Namuseche"],
        dial: "+2609", offset_hours: 2, position: ("-13.63640", "32.64540"),
        people: &BEMBA, neighbours: &CHEWA,
    },
    District {
        slug: "mutare", country: "Zimbabwe", state: "Manicaland", name: "Mutare",
        villages: &[
            "Sakubva", "Dangamvura", "Penhalonga", "Odzi", "Zimunya", "Chikanga", "Marange",
            "Burma Valley",
        ],
        dial: "+2637", offset_hours: 2, position: ("-18.98770", "32.63840"),
        people: &SHONA, neighbours: &ZULU,
    },
    District {
        slug: "monapo", country: "Mozambique", state: "Nampula", name: "Monapo",
        villages: &["Monapo-Rio", "Itoculo", "Netia", "Carapira", "Mecuco", "Namialo", "Natete"],
        dial: "+2588", offset_hours: 2, position: ("-14.92130", "40.30250"),
        people: &MAKHUWA, neighbours: &MAKHUWA,
    },
    District {
        slug: "kilifi", country: "Kenya", state: "Coast", name: "Kilifi",
        villages: &[
            "Malindi", "Mtwapa", "Watamu", "Ganze", "Mariakani", "Kaloleni", "Gede", "Takaungu",
        ],
        dial: "+2547", offset_hours: 3, position: ("-3.21920", "40.11690"),
        people: &SWAHILI, neighbours: &KIKUYU,
    },
    District {
        slug: "rakai", country: "Uganda", state: "Central Region", name: "Rakai",
        villages: &[
            "Kalisizo", "Kyotera", "Lwanda", "Kakuuto", "Kasaali", "Lyantonde", "Byakabanda",
        ],
        dial: "+2567", offset_hours: 3, position: ("-0.53420", "31.62120"),
        people: &GANDA, neighbours: &RWANDA,
    },
    District {
        slug: "moshi", country: "Tanzania", state: "Kilimanjaro", name: "Moshi",
        villages: &["Himo", "Marangu", "Kibosho", "Uru", "Machame", "Pasua", "Majengo", "Kahe"],
        dial: "+2557", offset_hours: 3, position: ("-3.39110", "37.54780"),
        people: &SWAHILI, neighbours: &KIKUYU,
    },
    District {
        slug: "kayonza", country: "Rwanda", state: "Eastern Province", name: "Kayonza",
        villages: &[
            "Rwinkwavu", "Mukarange", "Kabarondo", "Ndego", "Nyamirama", "Gahini", "Murundi",
        ],
        dial: "+2507", offset_hours: 2, position: ("-1.98330", "30.61670"),
        people: &RWANDA, neighbours: &GANDA,
    },
    District {
        slug: "umkhanyakude", country: "South Africa", state: "KwaZulu-Natal", name: "uMkhanyakude",
        villages: &["Mtubatuba", "Hlabisa", "Jozini", "Mkuze", "Ingwavuma", "Manguzi", "Mbazwana"],
        dial: "+277", offset_hours: 2, position: ("-28.41610", "32.18260"),
        people: &ZULU, neighbours: &SOTHO,
    },
    District {
        slug: "lubombo", country: "Eswatini", state: "Lubombo", name: "Siteki",
        villages: &["Lukhula", "Lomahasha", "Big Bend", "Mhlume", "Simunye", "Nkalashane"],
        dial: "+2687", offset_hours: 2, position: ("-26.45240", "31.94780"),
        people: &ZULU, neighbours: &ZULU,
    },
];
