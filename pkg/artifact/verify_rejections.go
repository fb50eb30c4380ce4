package artifact

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	// maxCandidates bounds how many signatures are looked at. Artifacts that are signed with every build have tens.
	maxCandidates = 100
	// maxReasons and maxReason bound what is told about those that are not trusted; who wrote them can write much.
	maxReasons = 3
	maxReason  = 400
)

// rejections are the reasons why signatures are not trusted.
type rejections struct {
	count   int
	reasons []string
}

func (r *rejections) add(err error) {
	r.count++
	reason := shorten(err.Error())
	if len(r.reasons) <= maxReasons && !slices.Contains(r.reasons, reason) {
		r.reasons = append(r.reasons, reason)
	}
}

// explain says what was found, and what would have been trusted.
func (r *rejections) explain(expects string) error {
	if r.count == 0 {
		return fmt.Errorf("no signature found; trusted is %s", expects)
	}
	reasons := r.reasons
	if len(reasons) > maxReasons {
		reasons = append(slices.Clone(reasons[:maxReasons]), "and others")
	}
	found := fmt.Sprintf("%d found", r.count)
	if r.count == maxCandidates {
		found = fmt.Sprintf("the %d that were looked at", r.count)
	}
	return errors.New("no trusted signature among " + found + ": " + strings.Join(reasons, "; ") + "; trusted is " + expects)
}

// shorten makes one short line of what libraries and signers wrote.
func shorten(text string) string {
	text = strings.ToValidUTF8(strings.Join(strings.Fields(text), " "), "?")
	if len(text) <= maxReason {
		return text
	}
	return strings.ToValidUTF8(text[:maxReason], "") + "…"
}
