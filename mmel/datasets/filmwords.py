"""Words and sentences of the film world (`mmel.datasets.filmworld`).

Slots of a sentence: `{a}` and `{b}` characters, `{film}`, `{actor}` (who plays `{a}`) and `{director}` become
mentions; `{year}`, `{place}`, `{genre}`, `{job}`, `{relation}` (what `{b}` is to `{a}`), `{he}`, `{his}` and `{him}`
stay words. Sentences about a job do not name it: that a badge belongs to a detective is for the linker to learn.
"""

from __future__ import annotations

WOMEN = (
    "Ada Agnes Alma Amelia Anna Beatrice Bella Bridget Camilla Clara Cora Daphne Delia Dora Edith Elena Eleanor Elsa "
    "Emma Esther Eva Fanny Flora Frances Gloria Grace Greta Hannah Harriet Hazel Helen Ida Iris Ivy Jane Judith Julia "
    "June Kate Laura Lena Lily Lucy Mabel Margot Maria Martha Maude Mia Mona Nadia Nancy Nell Nina Nora Olive Pearl "
    "Polly Rachel Rebecca Rita Rosa Ruth Sadie Sally Sarah Sonia Stella Susan Thea Vera Viola Wanda Willa Zoe"
).split()
MEN = (
    "Abel Adam Albert Alec Amos Arthur Basil Ben Bruno Calvin Cecil Clive Conrad Cyril Daniel David Dexter Edgar Edwin "
    "Eli Ernest Ethan Felix Frank Fred Gabriel George Gilbert Guy Harold Harry Henry Hugo Isaac Ivan Jack Jacob James "
    "Jasper Joel John Jonas Karl Lars Leo Leon Louis Luke Marcus Martin Max Miles Milo Nathan Ned Nick Noah Oliver "
    "Oscar Otto Owen Patrick Paul Percy Peter Philip Ralph Ray Robert Roger Rufus Sam Silas Simon Theo Tom Victor "
    "Walter Wesley"
).split()
# Joined to make further first names when a world is large.
NAME_STARTS = "Al Bel Cal Dar El Fen Gal Hal Il Jor Kel Lor Mar Nor Ol Per Quin Ros Sel Tal Ul Ver Wil Yor Zel".split()
NAME_MIDDLES = "an ba da el fi go i in ka la li me mi no o on ri so ti va".split()
WOMEN_ENDS = "a ina ette elle ia ora is".split()
MEN_ENDS = "o us ard en ian ett or".split()

SURNAME_PREFIXES = ("", "Mac", "Van ", "De ")
SURNAME_STARTS = (
    "Ash Back Bar Black Brad Brook Cald Carl Clay Cole Crom Dal Den Dray East Ell Fair Farn Glen Gold Green Hal Har "
    "Hart Hawk Hazel Hol Kings Lang Lin Long Mar Mill Nor Oak Pem Rad Red Roth Sel Shaw Stan Stone Thorn Wake Wal "
    "West Whit Win Wood York"
).split()
SURNAME_ENDS = (
    "bourne brook bury by combe cott croft dale den don er field ford gate grave ham hurst land ley low man mere more "
    "ridge row shaw stead stone thorpe ton vale ville wall ward water way well wick wood worth"
).split()

TITLE_ADJECTIVES = (
    "Amber Bitter Blue Borrowed Broken Burning Cold Crooked Dark Distant Empty Endless Faithful Fallen Final Forgotten "
    "Frozen Gentle Golden Hidden Hollow Last Long Lost Lonely Midnight Painted Pale Paper Quiet Restless Savage Second "
    "Secret Silent Silver Sleeping Stolen Sudden Sunken Velvet Wild Winter"
).split()
TITLE_NOUNS = (
    "Alibi Anchor Balcony Bargain Bell Bridge Candle Carnival Corridor Country Crossing Crown Dance Door Echo Empire "
    "Engine Evening Farewell Fever Fire Frontier Garden Harbor Horizon Hour House Island Journey Key Lantern Ledger "
    "Letter Lighthouse Market Masquerade Mirror Mountain Orchard Parade Passage Promise Quarry River Road Room Season "
    "Shadow Shore Song Station Storm Street Summer Tide Tower Train Valley Verdict Voyage Waltz Wager Window Witness"
).split()
TITLE_SHAPES = ("The {adjective} {noun}", "{adjective} {noun}", "One {adjective} {noun}", "The {noun} of {place}")

PLACES = (
    "Lisbon Chicago Marseille Bombay Havana Vienna Glasgow Naples Boston Tangier Oslo Shanghai Dublin Alaska Texas "
    "Prague Cairo Montreal Sicily Kansas Berlin Kyoto Bristol Louisiana Athens Nairobi Cornwall Reykjavik Patagonia"
).split()

NICKNAMES = (
    "Ace Bandit Birdie Blaze Boots Buddy Buster Champ Dusty Duke Fingers Flash Frenchy Ghost Ginger Goldie Happy "
    "Hawk Kid Lefty Lucky Mouse Pepper Preacher Red Rocket Shorty Slim Smoky Sparrow Spike Sunny Tex Tiny Whisper"
).split()

# (what b is to a where b is a woman, where b is a man, whether they share the surname)
RELATIONS = (
    ("sister", "brother", True),
    ("wife", "husband", True),
    ("daughter", "son", True),
    ("boss", "boss", False),
    ("rival", "rival", False),
    ("best friend", "best friend", False),
    ("neighbour", "neighbour", False),
    ("cousin", "cousin", False),
)

JOBS: dict[str, tuple[str, ...]] = {
    "detective": (
        "{a} turns in {his} badge before the case is closed.",
        "A missing alibi leads {a} back to the suspect.",
        "{a} sits through another stakeout with cold coffee.",
        "At the precinct {a} pins one more photograph to the wall of clues.",
    ),
    "surgeon": (
        "{a} holds the scalpel a moment too long.",
        "The patient on the operating table is someone {a} knows.",
        "{a} washes {his} hands and walks back into the ward.",
        "After the transplant {a} cannot stop shaking.",
    ),
    "pilot": (
        "{a} brings the burning engine down on a dirt runway.",
        "From the cockpit {a} sees the storm close in.",
        "{a} checks the altitude twice and lies to the tower.",
        "Without fuel {a} glides the last miles.",
    ),
    "lawyer": (
        "{a} rests the case and the jury files out.",
        "In the courtroom {a} loses {his} temper with the judge.",
        "{a} finds the one clause that changes the verdict.",
        "The cross-examination by {a} is the best scene.",
    ),
    "thief": (
        "{a} cracks the safe in under a minute.",
        "The loot is gone when {a} comes back to the van.",
        "{a} picks the lock with a hairpin.",
        "One last heist, {a} promises, and nobody believes it.",
    ),
    "teacher": (
        "{a} wipes the blackboard and starts again.",
        "The pupils adore {a}, the headmaster does not.",
        "{a} keeps the whole classroom in after the bell.",
        "Grading homework by candlelight, {a} falls asleep.",
    ),
    "singer": (
        "{a} steps up to the microphone and forgets the first verse.",
        "The chorus swells and {a} finally hits the high note.",
        "{a} rehearses the ballad until the band goes home.",
        "An encore is the last thing {a} wants that night.",
    ),
    "soldier": (
        "{a} leads the platoon out of the trench.",
        "With an empty rifle {a} waits for dawn.",
        "{a} carries a wounded comrade past the barbed wire.",
        "The medal means nothing to {a}.",
    ),
    "journalist": (
        "{a} types the headline before the facts are in.",
        "The newsroom falls silent when {a} walks in.",
        "{a} protects a source and misses the deadline.",
        "The scoop costs {a} everything.",
    ),
    "farmer": (
        "{a} watches the barn burn down.",
        "The harvest fails and {a} sells the tractor.",
        "{a} is up before the roosters to milk the cows.",
        "Drought has cracked every field that {a} owns.",
    ),
    "priest": (
        "{a} hears a confession {he} cannot keep.",
        "Alone in the chapel {a} blows out the candles.",
        "{a} kneels at the altar and finds no words.",
        "The sermon that {a} gives empties the pews.",
    ),
    "chef": (
        "{a} throws the soup at the wall and the kitchen applauds.",
        "The new menu is the only thing {a} still believes in.",
        "{a} sharpens the knives while the oven cools.",
        "A bad review of the sauce ruins {a} in one night.",
    ),
    "scientist": (
        "{a} burns the formula before anyone can read it.",
        "Something moves under the microscope and {a} calls for help.",
        "{a} locks the laboratory and swallows the key.",
        "The experiment works, and that is what scares {a}.",
    ),
    "boxer": (
        "{a} goes down in the ninth round.",
        "The bell rings and {a} does not hear it.",
        "{a} hangs up the gloves in an empty gym.",
        "A left hook ends the title hopes of {a}.",
    ),
    "sailor": (
        "{a} cuts the anchor loose in the gale.",
        "From the mast {a} is the first to see land.",
        "{a} scrubs the deck and plans a mutiny.",
        "Three weeks adrift have left {a} half blind.",
    ),
    "spy": (
        "{a} swallows the microfilm at the border.",
        "The false passport gets {a} as far as the train.",
        "{a} breaks the cipher in a hotel bathroom.",
        "Nobody can say which embassy {a} really works for.",
    ),
    "banker": (
        "{a} signs the loan with a borrowed pen.",
        "When the vault is counted {a} is forty thousand short.",
        "{a} foreclosed on half the town before breakfast.",
        "The stock market crash finds {a} on the golf course.",
    ),
    "nurse": (
        "{a} changes the bandages in the dark.",
        "The night shift belongs to {a} and the fever charts.",
        "{a} hides the morphine from the doctors.",
        "At every bedside {a} tells the same kind lie.",
    ),
}
JOB_NAMED = (
    "{a}, the {job}, is written with real affection.",
    "As a {job}, {a} is never quite convincing.",
    "One hardly believes that {a} is a {job}.",
)
# Nicknames that come with the job are shared by everybody who has it.
JOB_NICKNAMES = {"surgeon": "Doc", "sailor": "Skipper", "soldier": "Sarge", "priest": "Padre", "teacher": "Prof"}

GENRES: dict[str, tuple[str, ...]] = {
    "thriller": (
        "The tension never lets up and every telephone call feels like a threat.",
        "You will suspect everybody and be wrong three times.",
    ),
    "comedy": (
        "The jokes land, even the one with the goose.",
        "I laughed until the couple in front of me moved away.",
    ),
    "western": (
        "Saddles creak, dust blows and the duel at noon is worth the wait.",
        "Nobody shoots horses and saloons like this any more.",
    ),
    "musical": (
        "The tap number on the fire escape alone is worth the ticket.",
        "You leave humming the overture.",
    ),
    "science fiction": (
        "The starship is cardboard, the robots are wonderful.",
        "Time travel has seldom been explained with so little fuss.",
    ),
    "romance": (
        "The kiss in the rain had the whole row sobbing.",
        "It is a love story for people who have given up on love letters.",
    ),
    "horror": (
        "I watched the cellar scene through my fingers.",
        "The blood is red, the screams are real and the ghost is not.",
    ),
    "war drama": (
        "The battle lasts forty minutes and spares nobody.",
        "Few films have shown the front with so little glory.",
    ),
}

OPENINGS = (
    "{film} is better than its poster.",
    "I went to see {film} with low hopes.",
    "Somebody at the festival called {film} a masterpiece.",
    "{film} has aged well.",
    "There is a great deal to like in {film}.",
    "Two hours with {film} pass quickly.",
    "Do not believe the trailer.",
    "The first reel is slow, the rest is not.",
    "This one I had never seen before.",
    "A friend lent me the disc.",
    "It rained, so we went to the cinema.",
)
HINTS: dict[str, tuple[str, ...]] = {
    "director": (
        "{director} directs without hurry.",
        "It is the most personal film of {director}.",
        "You can tell that {director} knows these people.",
    ),
    "actor": (
        "{actor} gives {a} a tired dignity.",
        "{actor} was born to play {a}.",
        "As {a}, {actor} steals every scene.",
        "I could not take my eyes off {actor}.",
    ),
    "year": (
        "For {year} it looks remarkably modern.",
        "Audiences of {year} must have been shocked.",
        "This is the {year} version.",
    ),
    "place": (
        "{place} has never looked so grey.",
        "The streets of {place} are a character of their own.",
        "Everything was shot on location in {place}.",
    ),
    "genre": (),
}
SCENES = (
    "{a} and {b} meet on a staircase and say nothing.",
    "{a} never forgives {b}.",
    "When {a} finds out what {b} did, the music stops.",
    "{b} follows {a} home in the rain.",
    "{a}'s letter to {b} is never sent.",
    "{a} leaves at midnight.",
    "Nobody in town trusts {a}.",
    "{a} lies, {b} listens, and neither is fooled.",
    "The dinner at which {a} insults {b} is painfully funny.",
    "{a} dances with {b} although the band has left.",
    "I did not understand why {a} runs away.",
    "{b} keeps {a}'s secret until the very end.",
    "It takes {a} the whole film to say one honest sentence.",
    "{a} saves {b} twice and is thanked once.",
    "{a}'s dog knows more than {b} does.",
    "Poor {a} waits at the wrong station.",
    "{a} sells the ring and tells {b} it was lost.",
    "Only {b} remembers {a}'s birthday.",
)
FAMILY = (
    "{b}, {a}'s {relation}, sees through it at once.",
    "{a} hides it from {his} {relation} {b}.",
    "{a} is nothing without {his} {relation}, and {b} knows it.",
)
CLOSINGS = (
    "I would watch {film} again tomorrow.",
    "{film} deserves a bigger audience.",
    "The last shot of {a} stays with you.",
    "{a} deserved a better ending.",
    "Four stars.",
    "Go and see it while you can.",
)
# Said before the sentences on the second film of a document.
TURNS = ("Then came the second feature.", "Quite another matter is what we saw next.", "The other half of the evening:")
