package render

import (
	"fmt"
)

// maxSetBytes bounds what copies for shards and patches add up to; 100 shards of all controllers have 4 MB. Without it a large object
// in a release or a patch for all objects would be multiplied until the memory is full.
const maxSetBytes = 16 << 20

// measure finds out how large an object is that will be copied.
func (d *draft) measure(o *object) error {
	if o.bytes > 0 {
		return nil
	}
	text, err := o.MarshalJSON()
	if err != nil {
		return err
	}
	return d.resize(o, len(text))
}

// resize notes how large a copied or patched object has become.
func (d *draft) resize(o *object, bytes int) error {
	d.bytes += bytes - o.bytes
	o.bytes = bytes
	if d.bytes > maxSetBytes {
		return fmt.Errorf("the objects become larger than %d bytes", maxSetBytes)
	}
	return nil
}
