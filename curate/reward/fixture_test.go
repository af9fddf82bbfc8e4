package reward

import (
	"stillhouse/internal/testkit"
)

var candidate = testkit.Candidate
