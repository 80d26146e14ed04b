"""121 plots of three sentences in five languages and in romanised Hindi, from sentences written for this benchmark.

Plot (a, b) has the hero a, the event b and the setting (a + b) mod 11, so any two plots of a language differ in two
sentences at least, and each sentence is in eleven plots: what is near is not enough, the whole has to match.
"""

from __future__ import annotations

LANGUAGES = ("en", "hi", "ta", "te", "bn", "romanised")
SENTENCES = """
A young doctor returns to her village.
एक युवा डॉक्टर अपने गाँव लौटती है।
ஒரு இளம் மருத்துவர் தன் கிராமத்திற்குத் திரும்புகிறார்.
ఒక యువ వైద్యురాలు తన గ్రామానికి తిరిగి వస్తుంది.
এক তরুণী ডাক্তার তার গ্রামে ফিরে আসে।
ek yuva doctor apne gaon lautti hai.

An old thief wants to change his life.
एक बूढ़ा चोर अपनी ज़िंदगी बदलना चाहता है।
ஒரு வயதான திருடன் தன் வாழ்க்கையை மாற்ற விரும்புகிறான்.
ఒక ముసలి దొంగ తన జీవితాన్ని మార్చుకోవాలనుకుంటాడు.
এক বুড়ো চোর তার জীবন বদলাতে চায়।
ek boodha chor apni zindagi badalna chahta hai.

A soldier has lost his memory.
एक सैनिक अपनी याददाश्त खो चुका है।
ஒரு ராணுவ வீரன் தன் நினைவை இழந்துவிட்டான்.
ఒక సైనికుడు తన జ్ఞాపకశక్తిని కోల్పోయాడు.
এক সৈনিক তার স্মৃতি হারিয়েছে।
ek sainik apni yaaddasht kho chuka hai.

A poor farmer is deep in debt.
एक गरीब किसान कर्ज़ में डूबा है।
ஒரு ஏழை விவசாயி கடனில் மூழ்கியிருக்கிறார்.
ఒక పేద రైతు అప్పుల్లో కూరుకుపోయాడు.
এক গরিব কৃষক ঋণে ডুবে আছে।
ek gareeb kisan karz mein dooba hai.

A girl dreams of becoming a singer.
एक लड़की गायिका बनने का सपना देखती है।
ஒரு பெண் பாடகியாக வேண்டும் என்று கனவு காண்கிறாள்.
ఒక అమ్మాయి గాయని కావాలని కలలు కంటుంది.
একটি মেয়ে গায়িকা হওয়ার স্বপ্ন দেখে।
ek ladki gayika banne ka sapna dekhti hai.

An honest police officer fights corruption.
एक ईमानदार पुलिस अफ़सर भ्रष्टाचार से लड़ता है।
ஒரு நேர்மையான காவல் அதிகாரி ஊழலுக்கு எதிராகப் போராடுகிறார்.
ఒక నిజాయితీ గల పోలీసు అధికారి అవినీతిపై పోరాడతాడు.
এক সৎ পুলিশ অফিসার দুর্নীতির বিরুদ্ধে লড়ে।
ek imaandar police afsar bhrashtachar se ladta hai.

Two brothers were separated as children.
दो भाई बचपन में बिछड़ गए थे।
இரண்டு சகோதரர்கள் சிறுவயதில் பிரிந்தனர்.
ఇద్దరు అన్నదమ్ములు చిన్నతనంలో విడిపోయారు.
দুই ভাই ছোটবেলায় আলাদা হয়ে গিয়েছিল।
do bhai bachpan mein bichhad gaye the.

A widow runs a small tea shop.
एक विधवा चाय की छोटी दुकान चलाती है।
ஒரு விதவை சிறிய தேநீர் கடை நடத்துகிறார்.
ఒక వితంతువు చిన్న టీ దుకాణం నడుపుతుంది.
এক বিধবা একটি ছোট চায়ের দোকান চালায়।
ek vidhwa chai ki chhoti dukaan chalati hai.

A scientist builds a robot.
एक वैज्ञानिक एक रोबोट बनाता है।
ஒரு விஞ்ஞானி ஒரு ரோபோவை உருவாக்குகிறார்.
ఒక శాస్త్రవేత్త ఒక రోబోను తయారు చేస్తాడు.
এক বিজ্ঞানী একটি রোবট তৈরি করেন।
ek vaigyanik ek robot banata hai.

A teacher coaches a weak cricket team.
एक अध्यापक एक कमज़ोर क्रिकेट टीम को सिखाता है।
ஒரு ஆசிரியர் பலவீனமான கிரிக்கெட் அணிக்குப் பயிற்சி அளிக்கிறார்.
ఒక ఉపాధ్యాయుడు బలహీనమైన క్రికెట్ జట్టుకు శిక్షణ ఇస్తాడు.
এক শিক্ষক একটি দুর্বল ক্রিকেট দলকে প্রশিক্ষণ দেন।
ek adhyapak ek kamzor cricket team ko sikhata hai.

A king has no heir.
एक राजा का कोई वारिस नहीं है।
ஒரு அரசருக்கு வாரிசு இல்லை.
ఒక రాజుకు వారసుడు లేడు.
এক রাজার কোনো উত্তরাধিকারী নেই।
ek raja ka koi waaris nahin hai.

A terrible flood destroys everything.
एक भयानक बाढ़ सब कुछ तबाह कर देती है।
ஒரு பயங்கர வெள்ளம் எல்லாவற்றையும் அழிக்கிறது.
ఒక భయంకరమైన వరద అంతా నాశనం చేస్తుంది.
এক ভয়াবহ বন্যা সব কিছু ধ্বংস করে দেয়।
ek bhayanak baadh sab kuch tabaah kar deti hai.

A murder happens on the wedding night.
शादी की रात एक हत्या होती है।
திருமண இரவில் ஒரு கொலை நடக்கிறது.
పెళ్లి రాత్రి ఒక హత్య జరుగుతుంది.
বিয়ের রাতে একটি খুন হয়।
shaadi ki raat ek hatya hoti hai.

A lost letter reveals a secret.
एक खोया हुआ पत्र एक राज़ खोलता है।
தொலைந்த கடிதம் ஒரு ரகசியத்தை வெளிப்படுத்துகிறது.
పోయిన ఒక లేఖ ఒక రహస్యాన్ని బయటపెడుతుంది.
একটি হারানো চিঠি একটি গোপন কথা প্রকাশ করে।
ek khoya hua patra ek raaz kholta hai.

They win the lottery.
वे लॉटरी जीतते हैं।
அவர்கள் லாட்டரி வெல்கிறார்கள்.
వారు లాటరీ గెలుస్తారు.
তারা লটারি জেতে।
ve lottery jeette hain.

A child is kidnapped for money.
पैसों के लिए एक बच्चे का अपहरण होता है।
பணத்திற்காக ஒரு குழந்தை கடத்தப்படுகிறது.
డబ్బు కోసం ఒక పిల్లవాడిని కిడ్నాప్ చేస్తారు.
টাকার জন্য একটি শিশুকে অপহরণ করা হয়।
paison ke liye ek bachche ka apaharan hota hai.

Ghosts appear in the old house.
पुराने घर में भूत दिखाई देते हैं।
பழைய வீட்டில் பேய்கள் தோன்றுகின்றன.
పాత ఇంట్లో దెయ్యాలు కనిపిస్తాయి.
পুরোনো বাড়িতে ভূত দেখা যায়।
purane ghar mein bhoot dikhai dete hain.

War breaks out at the border.
सीमा पर युद्ध छिड़ जाता है।
எல்லையில் போர் வெடிக்கிறது.
సరిహద్దులో యుద్ధం మొదలవుతుంది.
সীমান্তে যুদ্ধ শুরু হয়।
seema par yuddh chhid jata hai.

An outsider falls in love with the enemy's daughter.
एक अजनबी दुश्मन की बेटी से प्यार करने लगता है।
ஒரு அந்நியன் எதிரியின் மகளைக் காதலிக்கிறான்.
ఒక అపరిచితుడు శత్రువు కూతురిని ప్రేమిస్తాడు.
এক অচেনা লোক শত্রুর মেয়ের প্রেমে পড়ে।
ek ajnabi dushman ki beti se pyaar karne lagta hai.

Gold is stolen from the bank.
बैंक से सोना चोरी हो जाता है।
வங்கியிலிருந்து தங்கம் திருடப்படுகிறது.
బ్యాంకు నుంచి బంగారం దొంగిలించబడుతుంది.
ব্যাংক থেকে সোনা চুরি হয়ে যায়।
bank se sona chori ho jata hai.

A deadly disease spreads quickly.
एक जानलेवा बीमारी तेज़ी से फैलती है।
ஒரு கொடிய நோய் வேகமாகப் பரவுகிறது.
ఒక ప్రాణాంతక వ్యాధి వేగంగా వ్యాపిస్తుంది.
একটি মারাত্মক রোগ দ্রুত ছড়িয়ে পড়ে।
ek jaanleva bimari tezi se phailti hai.

An election divides the family.
चुनाव परिवार को बाँट देता है।
தேர்தல் குடும்பத்தைப் பிரிக்கிறது.
ఎన్నికలు కుటుంబాన్ని విడదీస్తాయి.
নির্বাচন পরিবারকে ভাগ করে দেয়।
chunav parivaar ko baant deta hai.

The story is set in the snow of the Himalayas.
कहानी हिमालय की बर्फ़ में घटती है।
கதை இமயமலையின் பனியில் நடக்கிறது.
కథ హిమాలయాల మంచులో జరుగుతుంది.
গল্পটি হিমালয়ের বরফে ঘটে।
kahani himalay ki barf mein ghatti hai.

It all happens on a train at night.
सब कुछ रात की एक ट्रेन में होता है।
எல்லாம் இரவில் ஒரு ரயிலில் நடக்கிறது.
అంతా రాత్రి ఒక రైలులో జరుగుతుంది.
সব কিছু রাতের একটি ট্রেনে ঘটে।
sab kuch raat ki ek train mein hota hai.

They live in a slum in Mumbai.
वे मुंबई की एक झुग्गी में रहते हैं।
அவர்கள் மும்பையின் ஒரு குடிசைப் பகுதியில் வாழ்கிறார்கள்.
వారు ముంబైలోని ఒక మురికివాడలో నివసిస్తారు.
তারা মুম্বাইয়ের একটি বস্তিতে থাকে।
ve mumbai ki ek jhuggi mein rehte hain.

The desert of Rajasthan is their home.
राजस्थान का रेगिस्तान उनका घर है।
ராஜஸ்தான் பாலைவனம் அவர்களின் வீடு.
రాజస్థాన్ ఎడారి వారి ఇల్లు.
রাজস্থানের মরুভূমি তাদের বাড়ি।
rajasthan ka registan unka ghar hai.

It takes place in a hospital.
यह एक अस्पताल में होता है।
இது ஒரு மருத்துவமனையில் நடக்கிறது.
ఇది ఒక ఆసుపత్రిలో జరుగుతుంది.
এটি একটি হাসপাতালে ঘটে।
yeh ek aspataal mein hota hai.

They sail on a fishing boat.
वे मछली पकड़ने वाली नाव पर जाते हैं।
அவர்கள் மீன்பிடி படகில் செல்கிறார்கள்.
వారు చేపల పడవలో వెళతారు.
তারা মাছ ধরার নৌকায় যায়।
ve machhli pakadne wali naav par jaate hain.

A palace a hundred years ago is the scene.
दृश्य सौ साल पहले का एक महल है।
நூறு ஆண்டுகளுக்கு முந்தைய அரண்மனையே களம்.
వంద ఏళ్ల క్రితం నాటి రాజభవనం నేపథ్యం.
একশো বছর আগের একটি প্রাসাদ হল পটভূমি।
drishya sau saal pehle ka ek mahal hai.

Everything happens in a college hostel.
सब कुछ एक कॉलेज के छात्रावास में होता है।
எல்லாம் ஒரு கல்லூரி விடுதியில் நடக்கிறது.
అంతా ఒక కళాశాల వసతి గృహంలో జరుగుతుంది.
সব কিছু একটি কলেজের ছাত্রাবাসে ঘটে।
sab kuch ek college ke chhatravas mein hota hai.

The jungle is full of tigers.
जंगल बाघों से भरा है।
காடு புலிகளால் நிறைந்துள்ளது.
అడవి పులులతో నిండి ఉంది.
জঙ্গল বাঘে ভরা।
jungle baaghon se bhara hai.

It ends in a prison.
इसका अंत एक जेल में होता है।
இது ஒரு சிறையில் முடிகிறது.
ఇది ఒక జైలులో ముగుస్తుంది.
এর শেষ হয় একটি জেলে।
iska ant ek jail mein hota hai.

They travel through space.
वे अंतरिक्ष में यात्रा करते हैं।
அவர்கள் விண்வெளியில் பயணிக்கிறார்கள்.
వారు అంతరిక్షంలో ప్రయాణిస్తారు.
তারা মহাকাশে ভ্রমণ করে।
ve antariksh mein yatra karte hain.
"""
"""A block for each sentence, with a line for each language: 11 heroes, 11 events, 11 settings."""


def plots(language: str) -> list[str]:
    """Return the 121 plots in a language, in the same order for each."""
    at = LANGUAGES.index(language)
    sentences = [block.splitlines()[at] for block in SENTENCES.strip().split("\n\n")]
    heroes, events, settings = sentences[:11], sentences[11:22], sentences[22:]
    return [f"{heroes[a]} {events[b]} {settings[(a + b) % 11]}" for a in range(11) for b in range(11)]
