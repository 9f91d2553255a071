// The teaching page. No build step, nothing from elsewhere; one subject a file.
import {startClasses} from "./classes.js"
import {startDrops} from "./drops.js"
import {keepStatus} from "./known.js"
import {startLive} from "./live.js"
import {startMap} from "./map.js"
import {keepPicture} from "./picture.js"
import {startResults} from "./results.js"
import {startReview} from "./review.js"
import {startSettings} from "./settings.js"
import {startSignIn} from "./signin.js"
import {watch} from "./stream.js"
import {startTabs} from "./tabs.js"
import {startTheme} from "./theme.js"
import {startTraining} from "./training.js"
import {startModelLine, startVersions} from "./versions.js"
import {startWhy} from "./why.js"

for (const start of [
	startTheme,
	startSignIn,
	startLive,
	startWhy,
	startClasses,
	startDrops,
	startTraining,
	startResults,
	startMap,
	startVersions,
	startModelLine,
	startReview,
	startSettings,
	startTabs
])
	start()
watch()
keepPicture()
keepStatus()
