"""Images as DICOM files to a web server that is not DICOMweb: one POST or PUT each."""
