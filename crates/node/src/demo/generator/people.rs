//! Names as they are given in East and Southern Africa.

use super::random::Random;

/// Names that go together.
#[derive(Debug)]
pub(super) struct People {
    /// Given to girls.
    female: &'static [&'static str],
    /// Given to boys.
    male: &'static [&'static str],
    /// Family names.
    family: &'static [&'static str],
    /// Names from church, mosque or school that go with them.
    calling: &'static Calling,
}

/// Names from church, mosque or school.
#[derive(Debug)]
pub(super) struct Calling {
    female: &'static [&'static str],
    male: &'static [&'static str],
}

/// What a person is called.
#[derive(Debug, Clone)]
pub(super) struct PersonName {
    pub(super) given: String,
    pub(super) middle: Option<String>,
    pub(super) family: String,
}

impl PersonName {
    /// As it is shown: given, middle and family name.
    pub(super) fn display(&self) -> String {
        match &self.middle {
            Some(middle) => format!("{} {middle} {}", self.given, self.family),
            None => format!("{} {}", self.given, self.family),
        }
    }
}

impl People {
    /// A name for someone of this people; six in ten have a middle name.
    pub(super) fn name(&self, random: &mut Random, female: bool) -> PersonName {
        let (own, calling) = if female {
            (self.female, self.calling.female)
        } else {
            (self.male, self.calling.male)
        };
        let family = (*random.pick(self.family)).to_owned();
        let both = random.chance(60);
        let calling_first = random.chance(75);
        let own = (*random.pick(own)).to_owned();
        let calling = (*random.pick(calling)).to_owned();
        let (given, other) = if calling_first { (calling, own) } else { (own, calling) };
        let middle = Some(other).filter(|other| both && *other != given && *other != family);
        PersonName { given, middle, family }
    }
}

#[rustfmt::skip]
const CHURCH: Calling = Calling {
    female: &[
        "Mary", "Grace", "Faith", "Mercy", "Esther", "Ruth", "Agnes", "Beatrice", "Caroline",
        "Dorcas", "Elizabeth", "Eunice", "Florence", "Hellen", "Irene", "Jane", "Janet", "Joyce",
        "Judith", "Lilian", "Lucy", "Margaret", "Martha", "Millicent", "Monica", "Nancy", "Pauline",
        "Phoebe", "Purity", "Rachel", "Rebecca", "Rose", "Sarah", "Susan", "Teresia", "Violet",
        "Winnie", "Priscilla", "Loveness", "Memory", "Patience", "Charity", "Gift", "Annet",
    ],
    male: &[
        "John", "Peter", "James", "Joseph", "David", "Daniel", "Samuel", "Paul", "Stephen",
        "Michael", "George", "Charles", "Francis", "Moses", "Isaac", "Joshua", "Elijah", "Simon",
        "Thomas", "Patrick", "Vincent", "Victor", "Dennis", "Kennedy", "Wycliffe", "Geoffrey",
        "Julius", "Nicholas", "Philip", "Robert", "Benard", "Collins", "Emmanuel", "Felix",
        "Innocent", "Blessings", "Precious", "Gilbert", "Fredrick", "Godfrey", "Tobias", "Elisha",
    ],
};
#[rustfmt::skip]
const MOSQUE: Calling = Calling {
    female: &[
        "Amina", "Fatuma", "Halima", "Khadija", "Mariam", "Zainab", "Aisha", "Rehema", "Saida",
        "Salma", "Mwanaisha", "Zuhura", "Asha", "Hadija", "Nuru", "Rukia", "Swaleha", "Zawadi",
    ],
    male: &[
        "Ali", "Hassan", "Hussein", "Juma", "Salim", "Omar", "Abdalla", "Rashid", "Said", "Yusuf",
        "Hamisi", "Bakari", "Athman", "Swaleh", "Mbarak", "Khamis", "Idris", "Ramadhan",
    ],
};
#[rustfmt::skip]
const IGREJA: Calling = Calling {
    female: &[
        "Maria", "Ana", "Joana", "Rosa", "Celeste", "Isabel", "Lurdes", "Teresa", "Helena",
        "Graça", "Amélia", "Luísa", "Fátima", "Esperança", "Conceição", "Julieta", "Albertina",
    ],
    male: &[
        "João", "José", "António", "Manuel", "Carlos", "Paulo", "Pedro", "Francisco", "Luís",
        "Armando", "Alberto", "Domingos", "Fernando", "Jorge", "Salvador", "Tomás", "Inácio",
    ],
};

#[rustfmt::skip]
pub(super) static LUO: People = People {
    female: &[
        "Achieng", "Adhiambo", "Akinyi", "Akoth", "Anyango", "Apiyo", "Atieno", "Auma", "Awino",
        "Awuor", "Adongo", "Amondi", "Aoko", "Ajwang", "Akeyo", "Adoyo",
    ],
    male: &[
        "Ochieng", "Odhiambo", "Okinyi", "Okoth", "Onyango", "Opiyo", "Otieno", "Ouma", "Owino",
        "Owuor", "Odongo", "Omondi", "Okoko", "Ojwang", "Okeyo", "Odoyo",
    ],
    family: &[
        "Odhiambo", "Otieno", "Ochieng", "Onyango", "Omondi", "Owuor", "Ouma", "Okoth", "Oduor",
        "Ogola", "Oloo", "Obiero", "Okello", "Nyambok", "Opondo", "Orwa", "Ogutu", "Oyoo", "Ogada",
        "Abuya", "Were", "Anyona", "Osewe", "Rarieda", "Olweny", "Ombok", "Ong'ondo",
    ],
    calling: &CHURCH,
};
#[rustfmt::skip]
pub(super) static KIKUYU: People = People {
    female: &[
        "Wanjiku", "Wambui", "Njeri", "Nyambura", "Wangari", "Wanjiru", "Wairimu", "Muthoni",
        "Nyokabi", "Waithera", "Wangui", "Gathoni", "Wamaitha", "Mumbi", "Njoki", "Wacera",
    ],
    male: &[
        "Kamau", "Njoroge", "Mwangi", "Kariuki", "Maina", "Kimani", "Waweru", "Macharia", "Ngugi",
        "Githinji", "Karanja", "Mbugua", "Muriithi", "Ndung'u", "Gitau", "Kinyua",
    ],
    family: &[
        "Kamau", "Njoroge", "Mwangi", "Kariuki", "Maina", "Kimani", "Waweru", "Macharia", "Ngugi",
        "Karanja", "Mbugua", "Gachanja", "Muchiri", "Wachira", "Nderitu", "Gichuru", "Thuo",
        "Ndirangu", "Kiarie", "Gathogo", "Nduati",
    ],
    calling: &CHURCH,
};
#[rustfmt::skip]
pub(super) static LUHYA: People = People {
    female: &[
        "Nekesa", "Nafula", "Naliaka", "Nasimiyu", "Nanjala", "Khavere", "Khasoa", "Nabwire",
        "Namukhosi", "Andeso", "Ayuma", "Minayo", "Musimbi", "Kageha", "Kadenyeka", "Muhonja",
    ],
    male: &[
        "Wafula", "Wekesa", "Simiyu", "Wanjala", "Barasa", "Makokha", "Shikuku", "Mukhwana",
        "Lusweti", "Juma", "Andati", "Amukoya", "Keya", "Luvembe", "Kisia", "Mudavadi",
    ],
    family: &[
        "Wafula", "Wekesa", "Simiyu", "Wanjala", "Barasa", "Makokha", "Shikuku", "Mukhwana",
        "Lusweti", "Khaemba", "Masinde", "Nyongesa", "Wanyama", "Mulongo", "Sifuna", "Ambani",
        "Amisi", "Imbuga", "Luvai", "Mwenje", "Omukunda", "Shitanda", "Wamalwa",
    ],
    calling: &CHURCH,
};
#[rustfmt::skip]
pub(super) static KALENJIN: People = People {
    female: &[
        "Chebet", "Chepkoech", "Chepkemoi", "Cherono", "Cherop", "Chelimo", "Jepkosgei",
        "Jepchirchir", "Jeptoo", "Jelagat", "Jerotich", "Chemutai", "Chepngetich", "Jebet",
    ],
    male: &[
        "Kiprop", "Kipchoge", "Kiplagat", "Kipkoech", "Kiprono", "Kiptoo", "Cheruiyot", "Kibet",
        "Kipkemboi", "Kipngetich", "Kiprotich", "Kimutai", "Kipchirchir", "Kiplimo",
    ],
    family: &[
        "Rotich", "Koech", "Cheruiyot", "Ruto", "Kiptoo", "Kosgei", "Bett", "Langat", "Korir",
        "Sang", "Tanui", "Biwott", "Chepkwony", "Kirui", "Limo", "Lagat", "Mutai", "Keino",
    ],
    calling: &CHURCH,
};
#[rustfmt::skip]
pub(super) static SWAHILI: People = People {
    female: &[
        "Mwanajuma", "Tatu", "Pili", "Mwanahamisi", "Neema", "Upendo", "Zawadi", "Subira",
        "Bahati", "Imani", "Furaha", "Tumaini", "Rehema", "Mwanaidi",
    ],
    male: &[
        "Juma", "Baraka", "Hamadi", "Jabali", "Kombo", "Mwinyi", "Shabani", "Tumaini", "Bakari",
        "Faraji", "Kassim", "Mzee", "Sefu", "Makame",
    ],
    family: &[
        "Mwinyi", "Abdallah", "Mohamed", "Kombo", "Hamisi", "Said", "Bakari", "Omari", "Shariff",
        "Mwakio", "Mwachiro", "Kalume", "Charo", "Katana", "Mwangeka", "Mtengo", "Ngala", "Mrisho",
        "Mfaume", "Kikwete", "Massawe", "Mushi", "Mollel", "Nyerere",
    ],
    calling: &MOSQUE,
};
#[rustfmt::skip]
pub(super) static CHEWA: People = People {
    female: &[
        "Chikondi", "Chimwemwe", "Thokozani", "Mphatso", "Tiyamike", "Chisomo", "Tadala",
        "Limbani", "Alinafe", "Mayamiko", "Takondwa", "Yankho", "Mtendere", "Nagama",
    ],
    male: &[
        "Kondwani", "Chifundo", "Dalitso", "Kumbukani", "Limbani", "Mabvuto", "Madalitso",
        "Mwayi", "Pemphero", "Yamikani", "Zikomo", "Thandizo", "Gomezgani", "Kaponda",
    ],
    family: &[
        "Banda", "Phiri", "Mwale", "Nkhoma", "Chirwa", "Kamanga", "Gondwe", "Mbewe", "Chisale",
        "Kachale", "Kalonga", "Mkandawire", "Msiska", "Nyirenda", "Chimombo", "Kaunda", "Zulu",
        "Tembo", "Sakala", "Moyo", "Jere", "Chikopa", "Mhango", "Kumwenda", "Nyasulu",
    ],
    calling: &CHURCH,
};
#[rustfmt::skip]
pub(super) static BEMBA: People = People {
    female: &[
        "Chanda", "Mutale", "Bwalya", "Mwila", "Kasonde", "Chileshe", "Mwansa", "Natasha",
        "Namwinga", "Mutinta", "Choolwe", "Luyando", "Inonge", "Mwangala",
    ],
    male: &[
        "Chilufya", "Mulenga", "Musonda", "Kabwe", "Kapembwa", "Chola", "Mumba", "Kunda",
        "Hamoonga", "Mweemba", "Lubinda", "Sitali", "Mubita", "Katongo",
    ],
    family: &[
        "Mulenga", "Mwansa", "Chanda", "Bwalya", "Musonda", "Kapasa", "Chileshe", "Sichone",
        "Simukonda", "Hamukale", "Mweetwa", "Lungu", "Mumba", "Ng'andu", "Kabwe", "Chisanga",
        "Mwila", "Siame", "Simbeye", "Chikwanda",
    ],
    calling: &CHURCH,
};
#[rustfmt::skip]
pub(super) static SHONA: People = People {
    female: &[
        "Tendai", "Rudo", "Chipo", "Nyasha", "Tsitsi", "Ruvimbo", "Rutendo", "Kudzai", "Vimbai",
        "Tariro", "Shamiso", "Tambudzai", "Fungai", "Anesu", "Makanaka", "Yeukai",
    ],
    male: &[
        "Tatenda", "Farai", "Tinashe", "Tawanda", "Takudzwa", "Kudakwashe", "Munashe", "Simbarashe",
        "Tonderai", "Tichaona", "Ngonidzashe", "Tapiwa", "Itai", "Garikai", "Panashe",
    ],
    family: &[
        "Moyo", "Ncube", "Sibanda", "Dube", "Chikwanha", "Mutasa", "Chigumba", "Makoni", "Mapfumo",
        "Marufu", "Muchena", "Mudzuri", "Nyamande", "Shumba", "Zvobgo", "Chivasa", "Gumbo", "Hove",
        "Madziva", "Mhlanga", "Mukanya", "Chiweshe", "Mavhunga",
    ],
    calling: &CHURCH,
};
#[rustfmt::skip]
pub(super) static ZULU: People = People {
    female: &[
        "Nomvula", "Thandiwe", "Nokuthula", "Zanele", "Nonhlanhla", "Sibongile", "Ntombi",
        "Lindiwe", "Busisiwe", "Nomsa", "Hlengiwe", "Thembi", "Zodwa", "Phumzile", "Ayanda",
    ],
    male: &[
        "Sipho", "Themba", "Sibusiso", "Bongani", "Mandla", "Thulani", "Jabulani", "Nkosinathi",
        "Sizwe", "Mthunzi", "Vusi", "Lwazi", "Siyabonga", "Sandile", "Musa",
    ],
    family: &[
        "Dlamini", "Nkosi", "Ndlovu", "Khumalo", "Zulu", "Mkhize", "Buthelezi", "Cele", "Gumede",
        "Hadebe", "Mthembu", "Ngcobo", "Sithole", "Zungu", "Mabaso", "Mhlongo", "Ntuli",
        "Shabalala",
        "Zwane", "Radebe",
    ],
    calling: &CHURCH,
};
#[rustfmt::skip]
pub(super) static SOTHO: People = People {
    female: &[
        "Lerato", "Palesa", "Puleng", "Mamello", "Limpho", "Thato", "Keneuoe", "Nthabiseng",
        "Retselisitsoe", "Refiloe", "Mpho", "Maleshoane", "Lineo", "Teboho", "Itumeleng",
    ],
    male: &[
        "Thabo", "Tumelo", "Tšepo", "Lebohang", "Katleho", "Neo", "Khotso", "Mohau", "Motlatsi",
        "Sechaba", "Tefo", "Teboho", "Rethabile", "Liteboho", "Pule",
    ],
    family: &[
        "Mokoena", "Molapo", "Mohapi", "Lekhanya", "Letsie", "Mosisili", "Nkuebe", "Ramaema",
        "Sekhonyana", "Thabane", "Tsekoa", "Khaketla", "Makhetha", "Matsela", "Mphutlane", "Ntsane",
        "Phiri", "Rantšo", "Seeiso", "Tau",
    ],
    calling: &CHURCH,
};
#[rustfmt::skip]
pub(super) static MAKHUWA: People = People {
    female: &[
        "Atija", "Muanema", "Zaina", "Amissina", "Fina", "Nura", "Cacilda", "Ancha", "Momade",
        "Alzira", "Gilda", "Zubaida",
    ],
    male: &[
        "Momade", "Amade", "Abacar", "Assane", "Mussa", "Ussene", "Saíde", "Chande", "Nacir",
        "Eusébio", "Zito", "Rachide",
    ],
    family: &[
        "Macuácua", "Cossa", "Machava", "Nhantumbo", "Sitoe", "Mondlane", "Chissano", "Tembe",
        "Langa", "Amade", "Abudo", "Muchanga", "Bila", "Mabunda", "Nhamirre", "Matusse", "Cumbe",
        "Guambe", "Massingue", "Ussene",
    ],
    calling: &IGREJA,
};
#[rustfmt::skip]
pub(super) static GANDA: People = People {
    female: &[
        "Nakato", "Babirye", "Namukasa", "Nalubega", "Nansubuga", "Nabukenya", "Namatovu",
        "Nakimuli", "Nassali", "Kisakye", "Atukunda", "Kyomugisha", "Akello", "Apio",
    ],
    male: &[
        "Kato", "Wasswa", "Mukasa", "Lubega", "Ssali", "Kizito", "Mugisha", "Tumusiime",
        "Byaruhanga",
        "Okello", "Opio", "Musoke", "Kiggundu", "Ssemakula",
    ],
    family: &[
        "Mukasa", "Lubega", "Ssemakula", "Kiggundu", "Nsubuga", "Musoke", "Kaggwa", "Mugisha",
        "Byaruhanga", "Tumwine", "Okello", "Ocen", "Ssekandi", "Walusimbi", "Kayondo", "Lutaaya",
        "Nabirye", "Twinomujuni", "Wamala", "Kirabo",
    ],
    calling: &CHURCH,
};
#[rustfmt::skip]
pub(super) static RWANDA: People = People {
    female: &[
        "Uwase", "Umutoni", "Ingabire", "Mukamana", "Uwimana", "Mutesi", "Ishimwe", "Umuhoza",
        "Nyiramana", "Mukandayisenga", "Keza", "Iradukunda",
    ],
    male: &[
        "Mugisha", "Habimana", "Niyonzima", "Hakizimana", "Nsengimana", "Manzi", "Ndayisenga",
        "Kwizera", "Gatete", "Tuyishime", "Shema", "Bizimana",
    ],
    family: &[
        "Habimana", "Niyonzima", "Uwimana", "Nsengiyumva", "Hakizimana", "Mukamana", "Ndayambaje",
        "Nkurunziza", "Twagirayezu", "Rukundo", "Kagabo", "Gasana", "Munyaneza", "Bizimungu",
    ],
    calling: &CHURCH,
};
