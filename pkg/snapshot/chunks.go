package snapshot

import "hash"

// chunks cuts what is written into pieces that fit into a ConfigMap, and holds one of them at a time.
type chunks struct {
	// save stores a piece.
	save func(number int, content []byte) error
	sum  hash.Hash

	pending []byte
	number  int
	size    int
}

// Write implements io.Writer.
func (c *chunks) Write(p []byte) (int, error) {
	c.sum.Write(p)
	c.size += len(p)
	for rest := p; len(rest) > 0; {
		n := min(len(rest), chunkSize-len(c.pending))
		c.pending, rest = append(c.pending, rest[:n]...), rest[n:]
		if len(c.pending) < chunkSize {
			break
		}
		if err := c.flush(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// flush stores what is pending.
func (c *chunks) flush() error {
	if len(c.pending) == 0 {
		return nil
	}
	if c.number >= maxChunks {
		return errTooLarge
	}
	if err := c.save(c.number, c.pending); err != nil {
		return err
	}
	c.number++
	c.pending = nil // the client may hold on to what it was given
	return nil
}
