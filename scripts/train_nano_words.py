"""Word lists and facts for the corpus of the bundled model. Common knowledge, written down for this project."""

# country | capital | continent | language | something it is known for
COUNTRIES = [tuple(f.strip() for f in line.split("|")) for line in """
France|Paris|Europe|French|the Eiffel Tower
Germany|Berlin|Europe|German|its cars and castles
Italy|Rome|Europe|Italian|the Colosseum
Spain|Madrid|Europe|Spanish|flamenco music
Portugal|Lisbon|Europe|Portuguese|its old trams
England|London|Europe|English|Big Ben
Scotland|Edinburgh|Europe|English|its lochs and castles
Wales|Cardiff|Europe|Welsh and English|its green hills
Ireland|Dublin|Europe|English and Irish|its green fields
Belgium|Brussels|Europe|Dutch and French|chocolate and waffles
the Netherlands|Amsterdam|Europe|Dutch|tulips and windmills
Luxembourg|Luxembourg City|Europe|Luxembourgish|its old fortress
Switzerland|Bern|Europe|German, French and Italian|mountains and watches
Austria|Vienna|Europe|German|classical music
Poland|Warsaw|Europe|Polish|its old market squares
the Czech Republic|Prague|Europe|Czech|its bridges and towers
Slovakia|Bratislava|Europe|Slovak|the Tatra mountains
Hungary|Budapest|Europe|Hungarian|its thermal baths
Slovenia|Ljubljana|Europe|Slovene|its lakes and caves
Croatia|Zagreb|Europe|Croatian|its long coast
Serbia|Belgrade|Europe|Serbian|its river fortress
Bosnia and Herzegovina|Sarajevo|Europe|Bosnian|the old bridge of Mostar
Albania|Tirana|Europe|Albanian|its beaches and mountains
Greece|Athens|Europe|Greek|the Acropolis
Bulgaria|Sofia|Europe|Bulgarian|its fields of roses
Romania|Bucharest|Europe|Romanian|its forests and castles
Moldova|Chisinau|Europe|Romanian|its vineyards
Ukraine|Kyiv|Europe|Ukrainian|its wide fields of wheat
Belarus|Minsk|Europe|Belarusian and Russian|its forests
Russia|Moscow|Europe and Asia|Russian|the Kremlin
Estonia|Tallinn|Europe|Estonian|its old town walls
Latvia|Riga|Europe|Latvian|its choirs
Lithuania|Vilnius|Europe|Lithuanian|amber
Finland|Helsinki|Europe|Finnish and Swedish|its thousand lakes
Sweden|Stockholm|Europe|Swedish|its islands and forests
Norway|Oslo|Europe|Norwegian|its deep fjords
Denmark|Copenhagen|Europe|Danish|the Little Mermaid
Iceland|Reykjavik|Europe|Icelandic|volcanoes and hot springs
Malta|Valletta|Europe|Maltese and English|its old harbours
Cyprus|Nicosia|Europe|Greek and Turkish|its sunny beaches
Turkey|Ankara|Asia and Europe|Turkish|its bazaars
Georgia|Tbilisi|Asia|Georgian|its mountain villages
Armenia|Yerevan|Asia|Armenian|its stone churches
Azerbaijan|Baku|Asia|Azerbaijani|the Caspian Sea
Jordan|Amman|Asia|Arabic|the ruins of Petra
Lebanon|Beirut|Asia|Arabic|its cedar trees
Syria|Damascus|Asia|Arabic|its ancient cities
Iraq|Baghdad|Asia|Arabic and Kurdish|the Tigris and the Euphrates
Iran|Tehran|Asia|Persian|carpets and poetry
Saudi Arabia|Riyadh|Asia|Arabic|its great deserts
Yemen|Sanaa|Asia|Arabic|its tall mud houses
Oman|Muscat|Asia|Arabic|its forts
Qatar|Doha|Asia|Arabic|its modern skyline
Kuwait|Kuwait City|Asia|Arabic|its towers by the sea
Afghanistan|Kabul|Asia|Pashto and Dari|its high mountains
Pakistan|Islamabad|Asia|Urdu and English|the mountain K2
India|New Delhi|Asia|Hindi and English|the Taj Mahal
Nepal|Kathmandu|Asia|Nepali|Mount Everest
Bhutan|Thimphu|Asia|Dzongkha|its mountain monasteries
Bangladesh|Dhaka|Asia|Bengali|its many rivers
China|Beijing|Asia|Chinese|the Great Wall
Mongolia|Ulaanbaatar|Asia|Mongolian|horses and wide grasslands
Japan|Tokyo|Asia|Japanese|Mount Fuji
South Korea|Seoul|Asia|Korean|its palaces
North Korea|Pyongyang|Asia|Korean|its mountains
Thailand|Bangkok|Asia|Thai|its golden temples
Vietnam|Hanoi|Asia|Vietnamese|its rice fields
Cambodia|Phnom Penh|Asia|Khmer|the temples of Angkor
Laos|Vientiane|Asia|Lao|the Mekong river
Malaysia|Kuala Lumpur|Asia|Malay|its twin towers
Indonesia|Jakarta|Asia|Indonesian|its thousands of islands
the Philippines|Manila|Asia|Filipino and English|its coral reefs
Kazakhstan|Astana|Asia|Kazakh and Russian|its great steppe
Uzbekistan|Tashkent|Asia|Uzbek|the Silk Road
Egypt|Cairo|Africa|Arabic|the pyramids
Libya|Tripoli|Africa|Arabic|the Sahara
Tunisia|Tunis|Africa|Arabic|the ruins of Carthage
Algeria|Algiers|Africa|Arabic|the Sahara
Morocco|Rabat|Africa|Arabic|its markets and spices
Senegal|Dakar|Africa|French|its drummers
Ghana|Accra|Africa|English|cocoa
Nigeria|Abuja|Africa|English|its music and films
Cameroon|Yaounde|Africa|French and English|its rain forests
Ethiopia|Addis Ababa|Africa|Amharic|coffee
Kenya|Nairobi|Africa|Swahili and English|its lions and elephants
Uganda|Kampala|Africa|English and Swahili|its mountain gorillas
Tanzania|Dodoma|Africa|Swahili and English|Mount Kilimanjaro
Rwanda|Kigali|Africa|Kinyarwanda|its thousand hills
Angola|Luanda|Africa|Portuguese|its waterfalls
Zambia|Lusaka|Africa|English|the Victoria Falls
Zimbabwe|Harare|Africa|English and Shona|the Victoria Falls
Botswana|Gaborone|Africa|English and Tswana|the Okavango delta
Namibia|Windhoek|Africa|English|its red dunes
South Africa|Pretoria|Africa|eleven languages|Table Mountain
Madagascar|Antananarivo|Africa|Malagasy and French|its lemurs
Mali|Bamako|Africa|French|the city of Timbuktu
Sudan|Khartoum|Africa|Arabic and English|the meeting of two Niles
Somalia|Mogadishu|Africa|Somali|its long coast
the United States|Washington|North America|English|the Statue of Liberty
Canada|Ottawa|North America|English and French|its maple trees
Mexico|Mexico City|North America|Spanish|the pyramids of the Maya
Guatemala|Guatemala City|North America|Spanish|its volcanoes
Honduras|Tegucigalpa|North America|Spanish|its coral reefs
Nicaragua|Managua|North America|Spanish|its great lake
Costa Rica|San Jose|North America|Spanish|its rain forests
Panama|Panama City|North America|Spanish|its canal
Cuba|Havana|North America|Spanish|its old cars and music
Jamaica|Kingston|North America|English|reggae music
Haiti|Port-au-Prince|North America|French and Creole|its painters
Colombia|Bogota|South America|Spanish|coffee
Venezuela|Caracas|South America|Spanish|Angel Falls
Ecuador|Quito|South America|Spanish|the Galapagos islands
Peru|Lima|South America|Spanish|Machu Picchu
Bolivia|Sucre|South America|Spanish|its salt flats
Chile|Santiago|South America|Spanish|the Atacama desert
Argentina|Buenos Aires|South America|Spanish|the tango
Uruguay|Montevideo|South America|Spanish|its quiet beaches
Paraguay|Asuncion|South America|Spanish and Guarani|its rivers
Brazil|Brasilia|South America|Portuguese|carnival and the Amazon
Australia|Canberra|Oceania|English|kangaroos and coral reefs
New Zealand|Wellington|Oceania|English and Maori|sheep and mountains
Fiji|Suva|Oceania|English and Fijian|its blue lagoons
""".strip().splitlines()]

GIRLS = """Sarah Emma Olivia Sophia Mia Anna Laura Julia Maria Elena Nina Clara Alice Rose Grace Ruth Helen
Karen Linda Susan Nancy Betty Diana Fiona Hannah Isabel Jane Kate Lily Molly Nora Paula Rachel Sonia Tina Vera
Wendy Zoe Amy Beth Carol Donna Ellen Aisha Fatima Yuki Mei Anita Lucia Ana""".split()
BOYS = """Tom John James David Peter Paul Mark Luke Adam Ben Carl Daniel Eric Frank George Henry Ian Jack Kevin
Leo Max Noah Oliver Philip Quinn Robert Sam Thomas Victor Walter Alex Brian Chris Dennis Edward Felix Gary Hugo
Ivan Jacob Karl Liam Martin Nathan Patrick Ralph Simon Tim Omar Hassan Kenji Wei Ravi Carlos Diego Pedro Ali
Ahmed""".split()
TITLED = [
    "Mrs. Jones",
    "Mrs. Baker",
    "Mr. Smith",
    "Mr. Brown",
    "Mrs. Green",
    "Mr. Wilson",
    "Professor Hill",
    "Dr. Miller",
]
HELD_OUT_NAMES = [
    "Priya",
    "Oscar",
    "Margaret",
    "Sergei",
]  # in no text of the corpus; the README shows what becomes of them

SENDERS = (
    "Alex Michael Jordan Robin Daniel Emily Chris Sam Kim Taylor Morgan Jamie Lee Casey Pat Nicole Stephen Andrea"
    .split()
)

FLOWERS = [
    "roses",
    "tulips",
    "lilies",
    "sunflowers",
    "daisies",
    "orchids",
    "peonies",
    "dahlias",
    "hydrangeas",
    "lavender plants",
    "tomato plants",
    "strawberry plants",
    "bean plants",
    "pumpkins",
    "herbs",
    "lettuces",
    "carrots",
    "cucumbers",
]

# animal | kind | what it eats | where it lives | young | sound or habit
ANIMALS = [tuple(f.strip() for f in line.split("|")) for line in """
cat|mammal|fish and mice|in houses and on farms|kitten|purrs when it is happy
dog|mammal|meat and bones|in houses with people|puppy|barks at strangers
cow|mammal|grass|on farms|calf|gives us milk
horse|mammal|grass and oats|on farms and wide plains|foal|can run very fast
sheep|mammal|grass|on hills and meadows|lamb|gives us wool
pig|mammal|roots and corn|on farms|piglet|likes to roll in the mud
lion|mammal|meat|in the grasslands of Africa|cub|roars loudly
tiger|mammal|meat|in the forests of Asia|cub|has orange fur with black stripes
elephant|mammal|leaves and grass|in Africa and Asia|calf|has a long trunk
bear|mammal|berries, fish and honey|in forests and mountains|cub|sleeps through the winter
rabbit|mammal|grass and carrots|in burrows under the ground|kit|hops quickly through the field
fox|mammal|mice and berries|in forests and fields|cub|has a red coat and a bushy tail
wolf|mammal|meat|in forests and mountains|pup|howls at night
mouse|mammal|seeds and cheese|in small holes|pup|is small and quick
whale|mammal|krill and small fish|in the ocean|calf|is the largest animal in the sea
dolphin|mammal|fish|in the ocean|calf|is clever and playful
monkey|mammal|fruit and leaves|in the jungle|infant|swings from tree to tree
kangaroo|mammal|grass|in Australia|joey|carries its young in a pouch
owl|bird|mice and insects|in forests and barns|owlet|hunts at night
eagle|bird|fish and small animals|in high mountains|eaglet|has very sharp eyes
penguin|bird|fish|in the cold south|chick|cannot fly but swims very well
duck|bird|plants and insects|on ponds and rivers|duckling|has feathers that keep it dry
hen|bird|seeds and worms|on farms|chick|lays eggs
parrot|bird|fruit and seeds|in warm forests|chick|can learn to speak words
frog|amphibian|insects|near ponds|tadpole|jumps and croaks
snake|reptile|mice and eggs|in deserts, forests and fields|hatchling|has no legs
turtle|reptile|plants and small animals|on land and in water|hatchling|carries its house on its back
shark|fish|fish and seals|in the ocean|pup|has many sharp teeth
bee|insect|nectar|in hives|larva|makes honey
butterfly|insect|nectar|in gardens and meadows|caterpillar|has colourful wings
""".strip().splitlines()]

OPPOSITES = [
    p.split("-") for p in """hot-cold big-small tall-short fast-slow happy-sad day-night up-down light-dark old-young
     hard-soft wet-dry open-closed full-empty early-late loud-quiet near-far rich-poor strong-weak clean-dirty
     left-right good-bad heavy-light high-low long-short thick-thin sweet-sour true-false first-last wide-narrow
     rough-smooth brave-afraid cheap-expensive""".split()
]

COLOURS = [
    ("sky", "blue"),
    ("grass", "green"),
    ("snow", "white"),
    ("blood", "red"),
    ("coal", "black"),
    ("a banana", "yellow"),
    ("a lemon", "yellow"),
    ("a ripe tomato", "red"),
    ("a carrot", "orange"),
    ("milk", "white"),
    ("chocolate", "brown"),
    ("a frog", "green"),
    ("the sun", "yellow"),
    ("a strawberry", "red"),
    ("the sea", "blue"),
    ("the night", "black"),
]

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
NUMBERS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen twenty""".split()

# What a curious person asks, with short true answers.
QUESTIONS = [
    ("How many days are in a week", "There are seven days in a week."),
    ("How many months are in a year", "There are twelve months in a year."),
    ("How many hours are in a day", "There are twenty-four hours in a day."),
    ("How many minutes are in an hour", "There are sixty minutes in an hour."),
    ("How many legs does a spider have", "A spider has eight legs."),
    ("How many legs does an insect have", "An insect has six legs."),
    ("What is the largest ocean", "The largest ocean is the Pacific Ocean."),
    ("What is the highest mountain in the world", "The highest mountain in the world is Mount Everest."),
    ("What is the largest planet", "The largest planet in our solar system is Jupiter."),
    ("What is the closest star to the Earth", "The closest star to the Earth is the Sun."),
    ("What planet do we live on", "We live on the planet Earth."),
    ("What is the largest animal", "The largest animal is the blue whale."),
    ("What is the fastest land animal", "The fastest land animal is the cheetah."),
    ("What do bees make", "Bees make honey."),
    ("What is ice", "Ice is frozen water."),
    ("What is snow", "Snow is made of tiny crystals of ice that fall from the clouds."),
    (
        "Where does rain come from",
        "Rain comes from the clouds. Tiny drops of water join together and fall to the ground.",
    ),
    ("Why is the sky blue", "The sky is blue because the air scatters blue light from the sun more than red light."),
    ("Why do leaves fall in autumn", "Leaves fall in autumn because trees save water and energy for the winter."),
    ("At what temperature does water boil", "Water boils at one hundred degrees Celsius."),
    ("At what temperature does water freeze", "Water freezes at zero degrees Celsius."),
    ("What are the four seasons", "The four seasons are spring, summer, autumn and winter."),
    ("What are the primary colours", "The primary colours are red, yellow and blue."),
    ("What do plants need to grow", "Plants need water, light, air and good soil to grow."),
    ("Who wrote Hamlet", "Hamlet was written by William Shakespeare."),
    ("Who painted the Mona Lisa", "The Mona Lisa was painted by Leonardo da Vinci."),
    ("What is the longest river in Africa", "The longest river in Africa is the Nile."),
    ("What is a computer", "A computer is a machine that works with numbers and follows instructions."),
    ("What is a language model", "A language model is a program that has read many texts and guesses the next word."),
    (
        "What is a key-value cache",
        "A key-value cache keeps the keys and values of earlier tokens so that they need not be computed again.",
    ),
    ("What is a book", "A book is a set of pages with words or pictures, bound together between two covers."),
    ("What do we use an umbrella for", "We use an umbrella to stay dry in the rain."),
]
