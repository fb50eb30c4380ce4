package report

// IsComplete tells whether everything that is to be watched was read at least once. It may be old all the same; that is for the report to say.
func (s *Snapshot) IsComplete() bool {
	for i := range s.Kinds {
		if !s.Kinds[i].Observed {
			return false
		}
	}
	return s.Definitions.Observed
}
