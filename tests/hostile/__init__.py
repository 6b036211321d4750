"""Damaged and hostile files, and kills: nothing may be read wrongly in silence, and nothing may be lost.

A case damages one file of a small good data set by a seed (bytes, header fields, JSON, CSV and XML values, a FIFO in
place of the file), reads it by the product in a process with limits of time and memory, and judges what came of it:

- loaded: what was read must equal what an independent reader (pydicom, nibabel, Pillow, zipfile, the standard library)
  reads of the same damaged file; a file that the reference refuses must not be loaded;
- refused: by a ``BadInputError`` of one line that names the file;
- everything else is counted: silently wrong, tracebacks, crashes, hangs, over the memory limit.

``make test`` runs 300 cases and 2 + 2 kills by :mod:`test_hostile`, ``make hostile`` 3,000 and 20 + 20::

    PYTHONPATH=tests python -m hostile --cases 3000 --kills 20
    PYTHONPATH=tests python -m hostile --case dicom_film/17 --keep somewhere   # one case again, its files kept
    PYTHONPATH=tests python -m hostile --cases 500 --only dicom                # kinds whose name contains a word
    PYTHONPATH=tests python -m hostile --case training/3                       # one kill again

A case is a kind of file and a number; the same two make the same damage everywhere, and number 0 is the good example.
:mod:`hostile.kinds` lists the kinds: to add one, write a good example, how the product reads it, and how somebody else
does. The kills are in :mod:`hostile.kills`.
"""
